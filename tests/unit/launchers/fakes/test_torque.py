"""The played Torque says what the recorded one said, and does what it did."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest

from launchers.fakes.torque import OUTAGE, install_torque, main
from tests.aio import until_sync
from tests.recorded import recorded

SCRIPT = "#!/bin/sh\n#PBS -N demo\n\ntrue\n"
QSTAT = ("qstat", "-t", "-f", "-x")


@pytest.fixture
def batch(tmp_path):
    return install_torque(tmp_path / "torque", node="vm")


@pytest.fixture
def run(batch, monkeypatch, capfd):
    """``run("qstat", "-t", ...)`` returns exit code, stdout and stderr."""

    def play(*argv: str, stdin: str = SCRIPT) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main(argv[0], argv[1:], str(batch.folder))
        return (code, *capfd.readouterr())

    return play


@pytest.fixture
def live(tmp_path):
    batch = install_torque(tmp_path / "torque", runs=True)
    yield batch
    batch.close()


def states(text: str) -> list[str]:
    return re.findall("<job_state>(.)</job_state>", text)


@pytest.mark.parametrize(
    "case",
    [
        "error-bad-array", "error-bad-long-option", "error-bad-name", "error-bad-option", "error-bad-resource",
        "error-bad-time", "error-infeasible", "error-missing-script", "error-other-systems-array-option",
        "error-unknown-queue", "status-none.qstat-tfx", "status-unknown.qstat-tfx", "status-unknown-array.qstat-tfx",
        "cancel-unknown", "cancel-unknown-array", "cancel-bad-id", "version.qsub",
    ],
)  # fmt: skip
def test_what_it_says_is_word_for_word(run, case):
    output = recorded("torque", case)
    argv = output.argv if case == "error-missing-script" else [word for word in output.argv if word != "job.sh"]
    assert run(*argv) == (output.exit_code, output.stdout, output.stderr)


@pytest.mark.parametrize("case", ["server-down.submit", "server-down.status-tfx", "server-down.cancel"])
def test_an_outage_is_word_for_word(batch, run, case):
    batch.order(*OUTAGE)
    output = recorded("torque", case)
    assert run(*output.argv) == (output.exit_code, output.stdout, output.stderr)


def test_the_life_of_an_array(batch, run):
    batch.set_options(slots=2)
    assert run("qsub", "-t", "1-4") == (0, "1[].vm\n", "")
    code, listed, _ = run(*QSTAT, "1[].vm")
    assert (code, states(listed)) == (0, ["R", "R", "Q", "Q"])
    assert "<Job_Id>1[3].vm</Job_Id><Job_Name>demo-3</Job_Name>" in listed
    assert run("qdel", "1[1].vm", "1[4].vm") == (0, "", "")
    listed = run(*QSTAT, "1[].vm")[1]
    assert states(listed) == ["C", "R", "R", "C"]
    assert listed.count("<exit_status>271</exit_status>") == 1
    again = (170, "", "qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE 1[1].vm\n")
    assert run("qdel", "1[1].vm") == again
    assert run("qdel", "1[].vm") == (0, "", "")
    assert run("qdel", "1[].vm") == (0, "", "")
    assert set(states(run(*QSTAT, "1[].vm")[1])) == {"C"}


def test_without_t_an_array_lists_every_job(run):
    run("qsub", "-t", "1-2")
    run("qsub")
    assert re.findall("<Job_Id>(.*?)</Job_Id>", run("qstat", "-f", "-x", "1[].vm")[1]) == ["1[].vm", "2.vm"]
    assert run(*QSTAT, "1[].vm")[1].count("<Job>") == 2


def test_several_ids_are_several_documents_and_unknown_ones_hide_none(run):
    run("qsub")
    run("qsub")
    code, stdout, stderr = run(*QSTAT, "1.vm", "9.vm", "2.vm")
    assert (code, stdout.count("<?xml"), stderr) == (153, 2, "qstat: Unknown Job Id Error 9.vm\n")


def test_completed_jobs_are_kept_for_a_while(batch, run):
    run("qsub")
    batch.set_state("1.vm", "TIMEOUT", node="vm")
    assert "<exit_status>-11</exit_status>" in run(*QSTAT, "1.vm")[1]
    batch.set_options(keep_completed_s=0.0)
    assert run(*QSTAT, "1.vm")[0] == 153


def test_refused_submissions_use_up_ids(run):
    run("qsub", "-q", "nope")
    assert run("qsub") == (0, "2.vm\n", "")


def qsub(live, body: str, *options: str, **kw) -> str:
    argv = [live.programs / "qsub", *options]
    script = f"#!/bin/bash\n\n{body}\n"
    # Output that no option sends elsewhere comes to where the job was submitted.
    done = subprocess.run(argv, input=script, stdout=-1, text=True, check=True, cwd=live.folder, **kw)
    return done.stdout.strip()


def qstat(live, job: str) -> str:
    done = subprocess.run([live.programs / "qstat", *QSTAT[1:], job], stdout=-1, text=True, check=True)
    return done.stdout


def test_output_appears_after_the_end_with_the_index_at_its_name(live, tmp_path):
    array = qsub(live, "echo out; while ! [ -e go ]; do sleep 0.02; done", "-t", "3", "-o", str(tmp_path / "out"),
                 env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})  # fmt: skip
    until_sync(lambda: states(qstat(live, array)) == ["R"])
    assert not (tmp_path / "out-3").exists()
    (tmp_path / "go").touch()
    until_sync(lambda: states(qstat(live, array)) == ["C"])
    assert (tmp_path / "out-3").read_text() == "out\n"


@pytest.mark.parametrize("target", ["missing/out", "a blank/out", "/dev/null"])
def test_output_that_cannot_be_delivered_is_lost(live, tmp_path, target):
    (tmp_path / "a blank").mkdir()
    array = qsub(live, "echo out", "-t", "1", "-o", str(tmp_path / target))
    until_sync(lambda: states(qstat(live, array)) == ["C"])
    assert (live.folder / "undelivered" / "1[1].vm.OU").read_text() == "out\n"


def test_a_job_has_its_own_environment_and_starts_at_home(live, tmp_path):
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "MINE": "x"}
    qsub(live, "{ pwd; env; } >result.new; mv result.new result", "-t", "2", "-v", "GIVEN=1", env=env)
    until_sync((tmp_path / "result").exists)
    place, *lines = (tmp_path / "result").read_text().splitlines()
    assert place == str(tmp_path)
    assert {"PBS_ARRAYID=2", "PBS_JOBID=1[2].vm", "PBS_ENVIRONMENT=PBS_BATCH", "GIVEN=1"} <= set(lines)
    assert "MINE=x" not in lines


def test_a_job_is_killed_moments_after_it_was_told(live, tmp_path):
    array = qsub(live, f"trap 'echo told >>{tmp_path}/log' TERM; touch {tmp_path}/on; while :; do sleep 0.02; done")
    until_sync((tmp_path / "on").exists)
    subprocess.run([live.programs / "qdel", array], check=True)
    until_sync(lambda: states(qstat(live, array)) == ["C"], timeout_s=5.0)
    assert (tmp_path / "log").read_text() == "told\n"
    assert (live.folder / "STDIN.o1").is_file()
