from __future__ import annotations

import pytest

from launchers.jobs import JobState, JobStatus
from launchers.slots import Phase, Slot, contiguous, summarise


@pytest.mark.parametrize(
    ("indices", "run"),
    [([3], (3, 3)), ([1, 2, 3], (1, 3)), ([5, 2, 3, 9], (2, 3)), ([7, 1], (1, 1))],
)
def test_the_first_run_of_indices(indices, run):
    assert contiguous(indices) == run


def test_a_job_taken_is_new_in_every_respect():
    slot = Slot(1, registered=True, told=True, worried=True, gone_polls=3, running_since_s=5.0)
    slot.take("9_1", "9", 10.0)
    assert (slot.phase, slot.element, slot.array) == (Phase.PENDING, "9_1", "9")
    assert not any((slot.registered, slot.told, slot.worried, slot.gone_polls, slot.running_since_s))


def test_running_begins_once():
    slot = Slot(1)
    slot.run(10.0)
    slot.run(20.0)
    assert slot.running_since_s == 10.0


def test_released_slots_wait_before_the_next_job():
    slot = Slot(1, phase=Phase.RUNNING, element="9_1", workers={"c.1"})
    slot.release(50.0)
    assert (slot.phase, slot.element, slot.workers) == (Phase.WANTED, "", set())
    assert slot.not_before_s == 51.0


def test_jobs_and_workers_are_counted():
    waiting = JobStatus(JobState.PENDING, "Priority")
    slots = [
        Slot(1, Phase.RUNNING, workers={"c.1"}),
        Slot(2, Phase.PENDING, status=waiting),
        Slot(3, Phase.WANTED),
        Slot(4, Phase.VANISHED),
    ]
    progress = summarise(slots, 4, "trouble")
    assert (progress.jobs, progress.pending, progress.running, progress.registered) == (3, 1, 1, 1)
    assert (progress.reason, progress.problem) == ("Priority", "trouble")
