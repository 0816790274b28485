"""The played PBS says what the recorded one said."""

from __future__ import annotations

import io
import json
import sys

import pytest

from launchers.fakes.pbs import OUTAGE, install_pbs, main
from tests.recorded import recorded

SCRIPT = "#!/bin/sh\n#PBS -N demo\n\ntrue\n"
QSTAT = ("qstat", "-t", "-f", "-F", "dsv")
HISTORY = ("qstat", "-x", "-t", "-f", "-F", "json")


@pytest.fixture
def batch(tmp_path):
    return install_pbs(tmp_path / "pbs", node="pbsvm")


@pytest.fixture
def run(batch, monkeypatch, capfd):
    """``run("qstat", "-t", ...)`` returns exit code, stdout and stderr."""

    def play(*argv: str, stdin: str = SCRIPT) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main(argv[0], argv[1:], str(batch.folder))
        return (code, *capfd.readouterr())

    return play


def letters(text: str) -> dict[str, str]:
    lines = [line.removeprefix("Job Id: ").split("|") for line in text.splitlines()]
    return {job: dict(field.split("=", 1) for field in fields)["job_state"] for job, *fields in lines}


@pytest.mark.parametrize(
    "case",
    [
        "error-array-of-one", "error-array-too-large", "error-bad-array", "error-bad-name", "error-bad-option",
        "error-bad-resource", "error-bad-time", "error-other-systems-array-option", "error-unknown-queue",
        "cancel-unknown", "cancel-unknown-array", "cancel-bad-id", "version.qsub",
    ],
)  # fmt: skip
def test_what_it_says_is_word_for_word(run, case):
    output = recorded("openpbs", case)
    argv = [word for word in output.argv if word != "job.sh"]
    assert run(*argv) == (output.exit_code, output.stdout, output.stderr)


@pytest.mark.parametrize("case", ["server-down.submit", "server-down.cancel"])
def test_an_outage_is_word_for_word(batch, run, case):
    batch.order(*OUTAGE)
    output = recorded("openpbs", case)
    assert run(*output.argv) == (output.exit_code, output.stdout, output.stderr)


@pytest.mark.parametrize("case", ["status-none.qstat-json", "status-unknown.qstat-json"])
def test_no_jobs_are_an_object_without_jobs(run, case):
    output = recorded("openpbs", case)
    code, stdout, stderr = run(*output.argv)
    assert (code, stderr) == (output.exit_code, output.stderr)
    assert json.loads(stdout).keys() == json.loads(output.stdout).keys()


def test_the_life_of_an_array(batch, run):
    batch.set_options(slots=2)
    assert run("qsub", "-J", "1-4") == (0, "1[].pbsvm\n", "")
    listed = letters(run(*QSTAT, "1[].pbsvm")[1])
    waiting = {"1[3].pbsvm": "Q", "1[4].pbsvm": "Q"}
    assert listed == {"1[].pbsvm": "B", "1[1].pbsvm": "R", "1[2].pbsvm": "R", **waiting}
    assert run("qdel", "1[1].pbsvm") == (0, "", "")
    assert letters(run(*QSTAT, "1[].pbsvm")[1])["1[1].pbsvm"] == "X"
    again = "qdel: Request invalid for finished array subjob 1[1].pbsvm\n"
    assert run("qdel", "1[1].pbsvm") == (55, "", again)
    assert run("qdel", "1[].pbsvm") == (0, "", "")
    assert run("qdel", "1[].pbsvm") == (35, "", "qdel: Job has finished 1[].pbsvm\n")
    told = "qstat: 1[].pbsvm Job has finished, use -x or -H to obtain historical job information\n"
    assert run(*QSTAT, "1[].pbsvm") == (35, "", told)


def test_history_tells_how_jobs_ended(batch, run):
    run("qsub")
    batch.set_state("1.pbsvm", "TIMEOUT", node="pbsvm")
    assert json.loads(run(*HISTORY, "1.pbsvm")[1])["Jobs"]["1.pbsvm"]["Exit_status"] == -29
    batch.set_options(history=False)
    assert run(*HISTORY, "1.pbsvm")[0] == 103
    assert run(*QSTAT, "1.pbsvm") == (153, "", "qstat: Unknown Job Id 1.pbsvm\n")


def test_json_tells_of_the_first_of_several_jobs_only(run):
    run("qsub")
    run("qsub")
    several = ("1.pbsvm", "9.pbsvm", "2.pbsvm")
    code, stdout, stderr = run("qstat", "-t", "-f", "-F", "json", *several)
    assert (code, list(json.loads(stdout)["Jobs"])) == (153, ["1.pbsvm"])
    assert stderr == "qstat: Unknown Job Id 9.pbsvm\n"
    assert list(letters(run(*QSTAT, *several)[1])) == ["1.pbsvm", "2.pbsvm"]


def test_a_single_job_is_told_its_index(batch, run):
    assert run("qsub", "-v", "DLAUNCH_ARRAY_INDEX=5") == (0, "1.pbsvm\n", "")
    assert "Variable_List=PBS_O_HOME=/home/tuser,DLAUNCH_ARRAY_INDEX=5\n" in run(*QSTAT, "1.pbsvm")[1]
