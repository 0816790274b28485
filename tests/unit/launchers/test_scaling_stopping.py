from __future__ import annotations

import pytest

from launchers import events
from launchers.actions import Cancel, Find, GiveUp, Inquire, Poll, Stopped
from launchers.jobs import JobArray, JobState, JobStatus
from launchers.scaling import CANCEL_AGAIN_S, STOP_PATIENCE_S
from launchers.slots import Phase
from tests.unit.launchers.scaling_drive import CANCELLED, FAILED, PENDING, RUNNING, Drive


def test_stopping_cancels_whole_arrays_and_waits_until_they_are_gone():
    drive = Drive(3)
    assert drive.do(events.StopWanted, False) == [Cancel(("J1",))]
    assert drive.do(events.Cancelled) == []
    completing = JobStatus(JobState.COMPLETING)
    assert drive.poll(J1_1=completing, J1_2=CANCELLED, J1_3=CANCELLED) == []
    assert drive.poll(J1_1=CANCELLED) == [Stopped()]
    assert drive.machine.wake_s() is None


def test_stopping_with_nothing_submitted():
    drive = Drive()
    assert drive.do(events.StopWanted, False) == [Stopped()]


def test_stopping_in_the_middle_of_a_submission_waits_for_it():
    drive = Drive()
    drive.do(events.TargetChanged, 2)
    assert drive.do(events.StopWanted, False) == []
    assert drive.took(1, 2) == [Cancel(("J1",))]


def test_stopping_after_a_submission_of_unknown_outcome_looks_for_it():
    drive = Drive(can_find=True)
    drive.do(events.TargetChanged, 2)
    drive.do(events.StopWanted, False)
    assert drive.do(events.SubmitFailed, 1, 2, "Socket timed out", True, True) == [Find()]
    assert drive.do(events.Found, [JobArray("J9", {1: "J9_1"})]) == [Cancel(("J9",))]


def test_a_cancel_without_effect_is_repeated_and_in_the_end_told():
    drive = Drive(1)
    started_s = drive.now_s
    assert drive.do(events.StopWanted, False) == [Cancel(("J1",))]
    drive.do(events.Cancelled)
    cancels = 1
    for _ in range(500):
        for action in drive.sleep():
            if isinstance(action, Cancel):
                cancels += 1
                drive.do(events.Cancelled)
            elif isinstance(action, Poll):
                drive.do(events.Polled, {"J1_1": RUNNING})
        if drive.machine.stopped:
            break
    assert drive.machine.stopped
    assert cancels == STOP_PATIENCE_S // CANCEL_AGAIN_S
    assert drive.now_s - started_s >= STOP_PATIENCE_S


def test_in_a_hurry_the_order_to_cancel_is_all_that_is_waited_for():
    drive = Drive(2)
    drive.do(events.StopWanted, False)
    drive.do(events.StopWanted, True)
    assert drive.do(events.Cancelled) == [Stopped(("J1_1", "J1_2"))]


@pytest.mark.parametrize("k", range(3))
def test_stopping_while_a_batch_system_is_down(k):
    drive = Drive(1)
    actions = drive.do(events.StopWanted, False)
    failures = k
    while Stopped() not in actions:
        down = failures > 0
        if Cancel(("J1",)) in actions:
            failures -= 1
            actions = drive.do(events.CancelFailed, "connect failure") if down else drive.do(events.Cancelled)
        elif actions:
            actions = drive.do(events.PollFailed, "connect failure") if down else drive.do(events.Polled, {})
        else:
            actions = drive.sleep()
    assert sum("cancelling failed" in said.text for said in drive.said) == k


# -- stuck in the queue ------------------------------------------------------------------

STUCK = JobStatus(JobState.STUCK, "Eqw")


def test_a_stuck_job_is_asked_about_and_cleared_away():
    drive = Drive(2)
    assert drive.poll(J1_1=STUCK, J1_2=PENDING) == [Inquire(((1, "J1_1"),))]
    why = JobStatus(JobState.STUCK, "Eqw", explanation="no such shell")
    assert drive.do(events.Inquired, {1: why}) == [Cancel(("J1_1",))]
    assert drive.machine.slots[1].phase is Phase.WANTED
    assert drive.machine.progress.jobs == 1


@pytest.mark.parametrize("answer", [JobStatus(JobState.GONE), FAILED, CANCELLED])
def test_it_is_cleared_away_whatever_else_is_known_of_it(answer):
    drive = Drive(1)
    drive.poll(J1_1=STUCK)
    assert drive.do(events.Inquired, {1: answer}) == [Cancel(("J1_1",))]
    assert drive.machine.slots[1].phase is Phase.WANTED


def test_jobs_that_are_always_stuck_are_given_up_with_their_reasons():
    drive = Drive(3)
    drive.poll(J1_1=STUCK, J1_2=STUCK, J1_3=STUCK)
    cancelled = drive.do(events.Inquired, {1: STUCK, 2: STUCK, 3: STUCK})
    assert cancelled == [Cancel(("J1_1", "J1_2", "J1_3"))]
    assert isinstance(drive.said[-1], GiveUp)
    assert [status for _, _, status in drive.said[-1].failures] == [STUCK] * 3


def test_a_stuck_job_is_not_asked_about_while_all_is_cancelled():
    drive = Drive(1)
    drive.do(events.StopWanted, False)
    drive.do(events.Cancelled)
    assert drive.poll(J1_1=STUCK) == []
    drive.poll()
    assert drive.machine.stopped
