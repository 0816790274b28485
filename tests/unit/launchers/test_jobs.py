from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from launchers.jobs import JobSpec, JobState, JobStatus


def test_every_state_is_active_or_has_ended():
    assert {state for state in JobState if state.is_active} == {
        JobState.PENDING, JobState.RUNNING, JobState.STUCK, JobState.COMPLETING, JobState.UNKNOWN,
    }  # fmt: skip
    both = {state for state in JobState if state.is_active and state.has_ended}
    neither = {state for state in JobState if not state.is_active and not state.has_ended}
    assert (both, neither) == ({JobState.COMPLETING}, set())


def test_an_unknown_state_has_not_ended():
    assert not JobState.UNKNOWN.has_ended
    assert JobState.GONE.has_ended


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (JobStatus(JobState.RUNNING), "running"),
        (JobStatus(JobState.RUNNING, node="hpc1"), "running on hpc1"),
        (JobStatus(JobState.FAILED, "NonZeroExitCode", "hpc1", 3), "failed with exit code 3 on hpc1 (NonZeroExitCode)"),
        (JobStatus(JobState.TIMEOUT, "TimeLimit", "", 0, 15, "time is over"), "timeout by signal 15 (time is over)"),
        (JobStatus(JobState.OUT_OF_MEMORY, exit_code=0), "out of memory"),
        (JobStatus(JobState.PENDING, "Priority"), "pending (Priority)"),
    ],
)
def test_a_status_in_words(status, text):
    assert status.describe() == text


def test_what_follows_from_a_spec():
    spec = JobSpec(
        name="sweep",
        job_name="dl-sweep-1",
        command=("worker",),
        log_dir=PurePosixPath("/logs"),
        first=5,
        last=8,
        workers_per_job=4,
        nthreads=2,
    )
    assert spec.cpus == 8
    assert list(spec.indices) == [5, 6, 7, 8]
    assert str(spec.log_path(7)) == "/logs/sweep.7.log"
    assert str(spec.log_path("%a")) == "/logs/sweep.%a.log"


def test_a_spec_is_one_job_unless_told_otherwise():
    spec = JobSpec("a", "b", ("c",), PurePosixPath("/"))
    assert (list(spec.indices), spec.cpus, spec.memory, spec.walltime_s) == ([1], 1, None, None)
