from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest

from launchers import pbs_words
from launchers.jobs import JobSpec, JobState
from launchers.pbs_words import PBS_ENDS, TORQUE_ENDS, array_of, explain, fields_of, name_of, read_job, wrong_system
from launchers.protocol import Output

S = JobState


def spec(**changes) -> JobSpec:
    values = {"name": "sweep", "job_name": "sweep-1", "command": ("worker",), "log_dir": PurePosixPath("/logs")}
    return JobSpec(**{**values, **changes})


@pytest.mark.parametrize(
    ("letter", "state"),
    [
        *(("Q", S.PENDING), ("H", S.PENDING), ("W", S.PENDING), ("T", S.PENDING), ("R", S.RUNNING), ("S", S.RUNNING)),
        *(("U", S.RUNNING), ("B", S.RUNNING), ("E", S.COMPLETING), ("M", S.UNKNOWN), ("", S.UNKNOWN)),
    ],
)
def test_the_letters_of_the_manuals(letter, state):
    assert read_job({"job_state": letter}, {}).state is state


@pytest.mark.parametrize(
    ("code", "ends", "state", "part"),
    [
        ("0", TORQUE_ENDS, S.COMPLETED, "completed"),
        ("7", TORQUE_ENDS, S.FAILED, "exit code 7"),
        ("137", TORQUE_ENDS, S.FAILED, "out of memory?"),
        ("271", TORQUE_ENDS, S.CANCELLED, "signal 15"),
        ("265", TORQUE_ENDS, S.CANCELLED, "signal 9"),
        ("-11", TORQUE_ENDS, S.TIMEOUT, "walltime was over"),
        ("-10", TORQUE_ENDS, S.OUT_OF_MEMORY, "more memory"),
        ("-3", TORQUE_ENDS, S.FAILED, "exit status -3"),
        ("-29", PBS_ENDS, S.TIMEOUT, "walltime was over"),
        ("-27", PBS_ENDS, S.OUT_OF_MEMORY, "more memory"),
        ("", PBS_ENDS, S.CANCELLED, "cancelled"),
    ],
)
def test_how_jobs_end(code, ends, state, part):
    status = read_job({"job_state": "C", **({"exit_status": code} if code else {})}, ends)
    assert status.state is state
    assert part in status.describe()


def test_an_inherited_exit_status_is_no_failure_of_an_element():
    waiting = {"job_state": "Q", "Exit_status": "1", "comment": "Job Array Began at Mon Nov 23"}
    assert read_job(waiting, PBS_ENDS).describe() == "pending"
    ended = {"job_state": "F", "Exit_status": "1", "comment": "Subjob finished", "substate": "91"}
    assert read_job(ended, PBS_ENDS).state is S.CANCELLED
    older = {"job_state": "F", "Exit_status": "143", "comment": "Job run at Mon and terminated by ada@n1"}
    assert read_job(older, PBS_ENDS).state is S.CANCELLED


@pytest.mark.parametrize(("kind", "part"), [("u", "qrls"), ("o", "operator"), ("s", "another job"), ("l", "limit")])
def test_holds_are_explained(kind, part):
    assert part in read_job({"job_state": "H", "Hold_Types": kind}, {}).explanation


@pytest.mark.parametrize(
    ("text", "transient", "option"),
    [
        ("qsub: Invalid Account", False, "-A"),
        ("qsub: submit error (Queue is not enabled MSG=queue is disabled: user a, queue b)", False, "-q"),
        ("qsub: submit error (Maximum number of jobs already in queue MSG=total number of jobs)", True, ""),
        ("qsub: would exceed queue generic's per-user limit on number of jobs in queue", True, ""),
        ("qsub: submit error (End of File)", True, ""),
        ("qsub: Job exceeds queue and/or server resource limits", False, ""),
        ("pbs_iff: cannot connect to host\nNo Permission.\nqsub: cannot connect to server h (errno=15007)", True, ""),
        ("qsub: something quite new", False, ""),
    ],
)
def test_failures_that_were_not_recorded(text, transient, option):
    failure = explain(Output(("qsub",), 1, "", text))
    assert (failure.transient, failure.option, failure.harmless) == (transient, option, False)
    assert text in failure.text


def test_what_is_gone_is_harmless_for_qdel_alone():
    text = "qdel: Unknown Job Id 1.s\n\nqdel: Job has finished 2.s\n"
    assert explain(Output(("qdel", "1.s"), 35, "", text)).harmless
    assert not explain(Output(("qdel", "1.s"), 35, "", f"{text}qdel: Unauthorized Request  3.s\n")).harmless
    assert not explain(Output(("qsub",), 35, "", text)).harmless
    assert not explain(Output(("qdel", "1.s"), 1)).harmless


def test_the_tables_hold_together():
    for pattern, transient, option, _ in pbs_words._FAILURES:
        assert re.compile(pattern).groups == option.count("{}")
        assert not (transient and option), "what a line of the script causes does not pass by waiting"
    assert not set(pbs_words.RESERVED) & set(pbs_words.ALIASES)


@pytest.mark.parametrize(
    ("seconds", "text"), [(90.0, "00:01:30"), (0.5, "00:00:01"), (93784.0, "26:03:04"), (360000.0, "100:00:00")]
)
def test_walltime_counts_hours(seconds, text):
    assert fields_of(spec(walltime_s=seconds))["walltime"] == text


def test_memory_is_rounded_up_to_whole_mebibytes():
    assert fields_of(spec(memory=10**9))["memory_mib"] == 954
    assert fields_of(spec())["memory_mib"] is None


def test_the_log_is_a_word_for_the_shell():
    assert fields_of(spec())["log"] == '"/logs/sweep.${DLAUNCH_ARRAY_INDEX}.log"'
    log = fields_of(spec(log_dir=PurePosixPath('/a "$x"')))["log"]
    assert log == '"/a \\"\\$x\\"/sweep.${DLAUNCH_ARRAY_INDEX}.log"'


def test_names_begin_with_a_letter():
    assert [name_of(name) for name in ("demo", "7up", "_x")] == ["demo", "j7up", "j_x"]


def test_arrays_of_elements():
    assert [array_of(job) for job in ("12[4].a.b", "12[].a", "12.a")] == ["12[].a.b", "12[].a", "12.a"]


def test_a_version_that_nobody_knows_is_not_refused():
    assert wrong_system("torque", Output(("qsub",), 0, "GE 8.1.9\n")) == ""
    assert "dlaunch torque" in wrong_system("pbs", Output(("qsub",), 0, "", "version: 2.5.12\n"))
