"""The played Grid Engine says what the recorded one said."""

from __future__ import annotations

import io
import sys

import pytest

from launchers.fakes.sge import OUTAGE, install_sge, main
from tests.recorded import recorded

SCRIPT = "#!/bin/sh\n#$ -N demo\n\ntrue\n"


@pytest.fixture
def batch(tmp_path):
    return install_sge(tmp_path / "sge", node="hpc1")


@pytest.fixture
def run(batch, monkeypatch, capfd):
    """``run("qstat", "-xml")`` returns exit code, stdout and stderr."""

    def play(*argv: str, stdin: str = SCRIPT) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main(argv[0], argv[1:], str(batch.folder))
        return (code, *capfd.readouterr())

    return play


@pytest.mark.parametrize(
    "case",
    [
        *("error-array-too-large", "error-bad-array", "error-bad-option", "error-bad-resource", "error-bad-time"),
        *("error-unknown-pe", "error-unknown-project", "error-unknown-queue"),
    ],
)
def test_refusals_are_word_for_word(run, case):
    output = recorded("sge", case)
    argv = [word for word in output.argv if word != "job.sh"]
    assert run(*argv) == (output.exit_code, output.stdout, output.stderr)


@pytest.mark.parametrize("case", ["cancel-unknown", "cancel-element-unknown", "status-unknown.qstat-j-xml"])
def test_what_is_unknown_is_told_word_for_word(run, case):
    output = recorded("sge", case)
    assert run(*output.argv) == (output.exit_code, output.stdout, output.stderr)


@pytest.mark.parametrize("case", ["server-down.submit", "server-down.qstat-xml", "server-down.cancel"])
def test_an_outage_is_word_for_word(batch, run, case):
    batch.order(*OUTAGE)
    output = recorded("sge", case)
    assert run(*output.argv) == (output.exit_code, output.stdout, output.stderr)
    batch.behave()
    assert run("qsub", "-terse", "-t", "1-8")[:2] == (0, "1.1-8:1\n")


def test_a_directive_counts_wherever_it_stands(batch, run):
    run("qsub", "-terse", stdin=f"{SCRIPT}cat <<E\n#$ -N late\nE\n")
    assert [job.name for job in batch.jobs().values()] == ["late"]


def test_quotation_marks_only_keep_words_together(batch, run):
    run("qsub", stdin="""#$ -o "/a b/it's $TASK_ID" # a comment\n""")
    assert batch.jobs()["1.1"].output == "/a b/it's 1".replace("'", "")


def test_an_element_that_is_deleted_is_gone(run):
    run("qsub", "-terse", "-h", "-t", "1-3")
    assert run("qdel", "1.2") == (0, "user has deleted job-array task 1.2\n", "")
    assert run("qdel", "1.2")[:2] == (1, 'job "1" task "2" does not exist\n')
    assert run("qstat", "-xml")[1].count("<state>hqw</state>") == 2
