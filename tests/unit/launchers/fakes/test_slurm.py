"""The played SLURM says what the recorded one said."""

from __future__ import annotations

import io
import os
import sys

import pytest

from launchers.fakes.batch import Fault
from launchers.fakes.slurm import OUTAGE, install_slurm, main
from tests.recorded import recorded

SCRIPT = "#!/bin/sh\n#SBATCH --job-name=demo\n\ntrue\n"
QUEUE = ("squeue", "-h", "-r", "-t", "all")
FORM = ("-o", "%i|%T|%r|%N")


@pytest.fixture
def batch(tmp_path):
    return install_slurm(tmp_path / "slurm", node="hpc1")


@pytest.fixture
def run(batch, monkeypatch, capfd):
    """``run("squeue", "-h", ...)`` returns exit code, stdout and stderr."""

    def play(*argv: str, stdin: str = SCRIPT) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main(argv[0], argv[1:], str(batch.folder))
        return (code, *capfd.readouterr())

    return play


@pytest.mark.parametrize(
    "case",
    [
        "error-array-too-large", "error-bad-array", "error-bad-constraint", "error-bad-memory", "error-bad-nodelist",
        "error-bad-option", "error-bad-resource", "error-bad-time", "error-no-shebang", "error-unknown-partition",
        "status-unknown.squeue", "status-unknown.scontrol", "status-bad-id.squeue", "status-none.squeue",
        "cancel-bad-id", "cancel-unknown", "sacct-disabled",
    ],
)  # fmt: skip
def test_refusals_are_word_for_word(run, case):
    output = recorded("slurm", case)
    stdin = "echo no first line\n" if case == "error-no-shebang" else SCRIPT
    assert run(*output.argv, stdin=stdin) == (output.exit_code, output.stdout, output.stderr)


@pytest.mark.parametrize(
    "case", ["server-down.submit", "server-down.squeue", "server-down.scontrol", "server-down.cancel"]
)
def test_an_outage_is_word_for_word(batch, run, case):
    batch.order(*OUTAGE)
    output = recorded("slurm", case)
    assert run(*output.argv) == (output.exit_code, output.stdout, output.stderr.replace("id 69", "id 1"))
    batch.behave()
    assert run("sbatch", "--parsable")[0] == 0


def test_the_life_of_an_array(batch, run):
    batch.set_options(slots=2)
    assert run("sbatch", "--parsable", "--array=1-4") == (0, "1\n", "")
    listed = run(*QUEUE, "-j", "1", *FORM)[1]
    assert listed == "1_1|RUNNING|None|hpc1\n1_2|RUNNING|None|hpc1\n1_3|PENDING|Resources|\n1_4|PENDING|Resources|\n"
    assert run("scancel", "1_1", "1_4") == (0, "", "")
    listed = run(*QUEUE, "-j", "1", *FORM)[1]
    assert listed == "1_1|CANCELLED|None|hpc1\n1_2|RUNNING|None|hpc1\n1_3|RUNNING|None|hpc1\n"
    assert run("squeue", "-h", "-r", "-j", "1", *FORM)[1].count("\n") == 2
    assert "JobState=CANCELLED Reason=None" in run("scontrol", "-o", "show", "job", "1_1")[1]
    run("scancel", "1")
    assert run(*QUEUE, "-j", "1,77", *FORM)[1].count("CANCELLED") == 3


def test_jobs_are_found_by_the_name_in_the_script(run):
    run("sbatch", "--parsable")
    run("sbatch", "--parsable", "-J", "other")
    assert run(*QUEUE, "--me", "-n", "demo", "-o", "%i %j") == (0, "1 demo\n", "")


def test_states_on_demand(batch, run):
    run("sbatch", "--parsable", "--array=1-2")
    batch.set_state("1_1", "OUT_OF_MEMORY", reason="OutOfMemory", node="hpc3", signal=9)
    batch.set_state("1_2", "PENDING", reason="AssocGrpCPUMinutesLimit")
    assert (
        run(*QUEUE, "-j", "1", *FORM)[1] == "1_1|OUT_OF_MEMORY|OutOfMemory|hpc3\n1_2|PENDING|AssocGrpCPUMinutesLimit|\n"
    )
    assert "ExitCode=0:9" in run("scontrol", "-o", "show", "job", "1_1")[1]
    batch.forget("1_1", "1_2")
    assert run(*QUEUE, "-j", "1", *FORM)[0] == 1


def test_jobs_start_after_a_delay_and_held_ones_never(batch, run):
    batch.set_options(start_after_s=3600.0)
    run("sbatch", "--parsable")
    batch.set_options(start_after_s=0.0)
    run("sbatch", "--parsable", "--hold")
    assert run(*QUEUE, *FORM)[1] == "1|PENDING|Priority|\n2|PENDING|JobHeldUser|\n"


def test_a_submission_may_work_and_report_a_failure(batch, run):
    batch.order(Fault("sbatch", 1, stderr=b"Socket timed out\n", works=True))
    assert run("sbatch", "--parsable") == (1, "", "Socket timed out\n")
    assert list(batch.jobs()) == ["1"]
    assert run("sbatch", "--parsable") == (0, "2\n", "")


def test_orders_are_followed_one_after_another(batch, run):
    batch.order(Fault("squeue", 1, stderr=b"one"), Fault("squeue", 2, times=2), Fault("scancel", 3, argument="7"))
    assert [run("squeue", *FORM)[0] for _ in range(4)] == [1, 2, 2, 0]
    assert [run("scancel", number)[0] for number in ("8", "7", "7")] == [0, 3, 0]


def test_a_late_answer_is_an_answer(batch, run):
    batch.order(Fault("sbatch", exit_code=None, delay_s=0.01))
    assert run("sbatch", "--parsable") == (0, "1\n", "")


def test_bytes_that_are_no_text(batch, monkeypatch, capfdbinary):
    batch.order(Fault("squeue", 0, stdout=b"caf\xe9\n"))
    main("squeue", FORM, str(batch.folder))
    assert capfdbinary.readouterr().out == b"caf\xe9\n"


def test_what_was_asked_is_remembered(batch, run, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    run("sbatch", "--parsable")
    run("scancel", "1")
    submitted, cancelled = batch.calls()
    assert (submitted.argv, submitted.stdin) == (("sbatch", "--parsable"), SCRIPT)
    assert "SLURM_JOB_ID" in submitted.variables
    assert batch.calls("scancel") == [cancelled]


def test_the_programs_are_in_one_folder(batch):
    assert sorted(os.listdir(batch.programs)) == ["sacct", "sbatch", "scancel", "scontrol", "squeue"]
    assert all(os.access(path, os.X_OK) for path in batch.programs.iterdir())
