from __future__ import annotations

from launchers import events
from launchers.actions import Cancel, Find, GiveUp, Inquire, Poll, Stopped, Submit
from launchers.jobs import JobArray, JobState, JobStatus
from launchers.scaling import PATIENCE_S, WORRY_S
from launchers.slots import Phase
from tests.unit.launchers.scaling_drive import CANCELLED, FAILED, PENDING, RUNNING, TIMEOUT, Drive


def test_one_array_for_all():
    drive = Drive()
    assert drive.do(events.TargetChanged, 64) == [Submit(1, 64)]


def test_nothing_happens_while_a_command_is_out():
    drive = Drive()
    drive.do(events.TargetChanged, 2)
    assert drive.machine.wake_s() is None
    assert drive.sleep(1000) == []


def test_first_poll_comes_soon_and_later_ones_seldom():
    drive = Drive(2)
    pauses = []
    for _ in range(20):
        before_s = drive.now_s
        drive.poll(J1_1=PENDING, J1_2=PENDING)
        pauses.append(drive.now_s - before_s)
    assert pauses[0] == 1.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10.0


def test_polls_are_rare_once_all_have_registered():
    drive = Drive(1)
    drive.do(events.WorkerCame, "c.1")
    for _ in range(20):
        drive.poll(J1_1=RUNNING)
    assert drive.machine.wake_s() - drive.now_s == 30.0


def test_progress_counts_jobs_and_workers_and_gives_the_commonest_reason():
    drive = Drive(4, workers_per_job=2)
    drive.do(events.WorkerCame, "c.1-0")
    drive.do(events.WorkerCame, "c.1-1")
    held = JobStatus(JobState.PENDING, "JobHeldUser", explanation="held")
    drive.poll(J1_1=RUNNING, J1_2=PENDING, J1_3=held, J1_4=held)
    progress = drive.machine.progress
    assert (progress.wanted, progress.jobs, progress.pending, progress.running) == (8, 4, 3, 1)
    assert progress.registered == 2
    assert progress.reason == "JobHeldUser: held"


def test_workers_of_others_are_not_counted():
    drive = Drive(1)
    strangers = ("x", "c", "c.", "c.x", "c.9", "other.1", "cc.1")
    for name in strangers:
        drive.do(events.WorkerCame, name)
    assert drive.machine.progress.registered == 0
    assert drive.machine.progress.adopted == len(strangers)
    for name in strangers:
        drive.do(events.WorkerLeft, name)
    assert drive.machine.progress.adopted == 0


def test_a_job_of_others_whose_id_looks_like_a_name_of_ours_is_adopted():
    drive = Drive(1)
    drive.do(events.TargetChanged, 1)
    drive.machine.name = "77"
    drive.machine.handle(events.WorkerCame("77.1", drive.now_s, job_id="77.1"))
    assert drive.machine.progress.adopted == 1
    assert drive.machine.progress.registered == 0
    drive.machine.handle(events.WorkerLeft("77.1", drive.now_s))
    assert drive.machine.progress.adopted == 0


def test_a_worker_that_registers_before_we_know_the_job_counts():
    drive = Drive()
    drive.do(events.TargetChanged, 1)
    drive.do(events.WorkerCame, "c.1")
    drive.took(1, 1)
    assert drive.machine.slots[1].registered
    assert drive.machine.progress.running == 1


def test_an_unknown_state_changes_nothing():
    drive = Drive(1)
    before = drive.machine.slots[1].phase
    for _ in range(5):
        drive.poll(J1_1=JobStatus(JobState.UNKNOWN, "WEIRD"))
    assert drive.machine.slots[1].phase is before


def test_a_job_missing_once_is_not_gone():
    drive = Drive(1)
    drive.poll()
    drive.poll(J1_1=RUNNING)
    drive.poll()
    assert drive.machine.slots[1].phase is Phase.RUNNING
    assert drive.poll() == [Inquire(((1, "J1_1"),))]


def test_a_job_that_vanished_while_waiting_was_cancelled_by_somebody():
    drive = Drive(2)
    drive.poll(J1_2=RUNNING)
    assert drive.poll(J1_2=RUNNING) == [Inquire(((1, "J1_1"),))]
    drive.do(events.Inquired, {1: CANCELLED})
    assert drive.machine.slots[1].phase is Phase.WITHDRAWN
    assert drive.machine.attainable == 1


def test_inquiring_in_vain_does_not_repeat_at_once():
    drive = Drive(1)
    drive.poll()
    drive.poll()
    assert drive.do(events.Inquired, {}) == []


def test_a_job_that_ended_after_registering_is_submitted_again_alone():
    drive = Drive(3)
    for i in (1, 2, 3):
        drive.do(events.WorkerCame, f"c.{i}")
    drive.do(events.WorkerLeft, "c.2")
    drive.poll(J1_1=RUNNING, J1_2=TIMEOUT, J1_3=RUNNING)
    assert "ended: timeout" in drive.said[-1].text
    assert drive.sleep() == [Submit(2, 2)]
    drive.took(2, 2)
    assert drive.machine.slots[2].element == "J2_2"


def test_jobs_that_live_short_come_back_ever_later():
    drive = Drive(1)
    pauses = []
    for k in range(1, 14):
        drive.do(events.WorkerCame, "c.1")
        drive.do(events.WorkerLeft, "c.1")
        drive.poll(**{f"J{k}_1": FAILED})
        pauses.append(drive.machine.wake_s() - drive.now_s)
        assert drive.sleep() == [Submit(1, 1)]
        drive.took(1, 1)
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == 300.0


def test_a_long_life_forgives():
    drive = Drive(1)
    drive.machine.slots[1].pause_s = 200.0
    drive.do(events.WorkerCame, "c.1")
    drive.poll(J1_1=RUNNING)
    drive.now_s += 3600
    drive.poll(J1_1=TIMEOUT)
    assert drive.machine.slots[1].pause_s == 1.0


def test_three_start_failures_in_a_row_and_no_more_is_submitted():
    drive = Drive(4)
    drive.poll(J1_1=FAILED, J1_2=FAILED, J1_3=FAILED, J1_4=FAILED)
    (gave_up,) = [said for said in drive.said if isinstance(said, GiveUp)]
    assert not gave_up.refused
    assert [(index, status.exit_code) for index, _, status in gave_up.failures] == [(1, 7), (2, 7), (3, 7)]
    assert drive.machine.attainable == 0
    assert drive.machine.wake_s() is None


def test_a_single_job_is_tried_three_times():
    drive = Drive(1)
    for k in (1, 2):
        drive.poll(**{f"J{k}_1": FAILED})
        assert drive.sleep() == [Submit(1, 1)]
        drive.took(1, 1)
    drive.poll(J3_1=FAILED)
    assert isinstance(drive.said[-1], GiveUp)


def test_a_registration_between_failures_forgives():
    drive = Drive(5)
    alive = {"J1_5": RUNNING}
    drive.poll(J1_1=FAILED, J1_2=FAILED, J1_3=RUNNING, J1_4=RUNNING, **alive)
    drive.do(events.WorkerCame, "c.3")
    drive.machine.slots[1].not_before_s = drive.machine.slots[2].not_before_s = 1e9
    drive.poll(J1_3=RUNNING, J1_4=FAILED, **alive)
    assert not any(isinstance(said, GiveUp) for said in drive.said)


def test_after_giving_up_what_lives_goes_on():
    drive = Drive(4)
    drive.do(events.WorkerCame, "c.4")
    drive.poll(J1_1=FAILED, J1_2=FAILED, J1_3=FAILED, J1_4=RUNNING)
    assert drive.machine.attainable == 1
    drive.poll(J1_4=TIMEOUT)
    assert drive.machine.attainable == 0
    assert "submitted again" not in drive.said[-1].text


def test_node_failures_and_preemption_are_not_start_failures():
    drive = Drive(1)
    for k, state in enumerate((JobState.NODE_FAIL, JobState.PREEMPTED) * 3, 1):
        drive.poll(**{f"J{k}_1": JobStatus(state)})
        assert drive.sleep() == [Submit(1, 1)]
        drive.took(1, 1)


def test_a_requeued_job_waits_again():
    drive = Drive(1)
    drive.do(events.WorkerCame, "c.1")
    drive.do(events.WorkerLeft, "c.1")
    drive.poll(J1_1=PENDING)
    assert drive.machine.slots[1].phase is Phase.PENDING
    assert not drive.machine.slots[1].registered


def test_what_somebody_else_cancels_is_not_submitted_again():
    drive = Drive(2)
    drive.do(events.WorkerCame, "c.1")
    drive.poll(J1_1=CANCELLED, J1_2=CANCELLED)
    assert drive.machine.wake_s() is None
    assert drive.machine.attainable == 0


def test_a_job_that_runs_without_its_worker_is_worried_about_once():
    drive = Drive(1)
    while drive.now_s < 100 + 3 * WORRY_S:
        drive.poll(J1_1=RUNNING)
    (worry,) = drive.said
    assert worry.warning
    assert worry.index == 1


def test_two_failed_polls_in_a_row_before_a_warning_and_a_word_when_it_is_over():
    drive = Drive(1)
    assert drive.sleep() == [Poll(("J1_1",))]
    drive.do(events.PollFailed, "Socket timed out")
    assert drive.said == []
    drive.sleep()
    drive.do(events.PollFailed, "Socket timed out")
    assert "Socket timed out" in drive.said[-1].text
    drive.poll(J1_1=RUNNING)
    assert drive.said[-1].text == "the batch system answers again"
    assert drive.machine.slots[1].phase is Phase.RUNNING


# -- submissions that fail ------------------------------------------------------------------------


def test_a_refusal_for_good_is_not_repeated():
    drive = Drive()
    drive.do(events.TargetChanged, 2)
    drive.do(events.SubmitFailed, 1, 2, "Invalid partition", False, False)
    assert drive.said == [GiveUp("Invalid partition", True)]
    assert drive.machine.attainable == 0
    assert drive.machine.wake_s() is None


def test_a_passing_trouble_is_repeated_ever_later_then_given_up():
    drive = Drive()
    drive.do(events.TargetChanged, 2)
    pauses = []
    while not any(isinstance(said, GiveUp) for said in drive.said):
        drive.do(events.SubmitFailed, 1, 2, "Unable to contact", True, False)
        if drive.machine.gave_up:
            break
        pauses.append(drive.machine.wake_s() - drive.now_s)
        assert "next try in" in drive.machine.progress.problem
        assert drive.sleep() == [Submit(1, 2)]
    assert pauses[:3] == [2.0, 4.0, 8.0]
    assert max(pauses) == 60.0
    assert drive.now_s - 100 > PATIENCE_S
    assert drive.said[-1].refused


def test_before_it_submits_again_it_looks_for_the_job():
    drive = Drive(can_find=True)
    drive.do(events.TargetChanged, 2)
    drive.do(events.SubmitFailed, 1, 2, "Socket timed out", True, True)
    assert drive.sleep() == [Find()]
    assert drive.do(events.FindFailed, "still down") == []
    assert drive.sleep() == [Find()]
    assert drive.do(events.Found, [JobArray("J7", {1: "J7_1", 2: "J7_2"})]) == []
    assert drive.machine.slots[2].element == "J7_2"
    assert drive.machine.progress.problem == ""
    drive.poll(J7_1=RUNNING, J7_2=RUNNING)
    assert drive.machine.progress.running == 2


def test_what_may_be_there_and_cannot_be_found_is_not_submitted_twice():
    drive = Drive(can_find=False)
    drive.do(events.TargetChanged, 2)
    assert drive.do(events.SubmitFailed, 1, 2, "no answer", True, True) == []
    assert drive.machine.gave_up.startswith("no answer\nperhaps the jobs are there")


def test_what_was_surely_not_taken_is_not_looked_for():
    drive = Drive(can_find=True)
    drive.do(events.TargetChanged, 2)
    drive.do(events.SubmitFailed, 1, 2, "connect failure", True, False)
    assert drive.sleep() == [Submit(1, 2)]
    drive.do(events.StopWanted, False)
    assert drive.do(events.SubmitFailed, 1, 2, "connect failure", True, False) == [Stopped()]


def test_it_submits_again_if_there_is_no_such_job():
    drive = Drive(1, can_find=True)
    drive.do(events.WorkerCame, "c.1")
    drive.poll(J1_1=TIMEOUT)
    assert drive.sleep() == [Submit(1, 1)]
    drive.do(events.SubmitFailed, 1, 1, "Socket timed out", True, True)
    assert drive.sleep() == [Find()]
    # The array that is known already is not the one that was to be found.
    assert drive.do(events.Found, [JobArray("J1", {1: "J1_1"})]) in ([], [Submit(1, 1)])
    assert drive.machine.slots[1].phase in (Phase.WANTED, Phase.SUBMITTING)


def test_jobs_that_nobody_needs_any_more_are_cancelled_when_found():
    drive = Drive(can_find=True)
    drive.do(events.TargetChanged, 3)
    drive.do(events.SubmitFailed, 1, 3, "Socket timed out", True, True)
    drive.do(events.TargetChanged, 1)
    assert drive.sleep() == [Find()]
    found = JobArray("J7", {i: f"J7_{i}" for i in (1, 2, 3)})
    assert drive.do(events.Found, [found]) == [Cancel(("J7_2", "J7_3"))]
    drive.do(events.Cancelled)
    assert set(drive.machine.slots) == {1}


# -- scaling --------------------------------------------------------------------------------------


def test_scaling_up_submits_only_what_is_new():
    drive = Drive(2)
    assert drive.do(events.TargetChanged, 5) == [Submit(3, 5)]


def test_scaling_down_takes_waiting_jobs_first():
    drive = Drive(3)
    drive.do(events.WorkerCame, "c.1")
    drive.do(events.WorkerCame, "c.3")
    drive.poll(J1_1=RUNNING, J1_2=PENDING, J1_3=RUNNING)
    assert drive.do(events.TargetChanged, 1) == [Cancel(("J1_2", "J1_3"))]
    drive.do(events.Cancelled)
    drive.poll(J1_1=RUNNING, J1_2=CANCELLED)
    assert set(drive.machine.slots) == {1}
    assert not drive.said


def test_scaling_down_and_up_again_before_the_jobs_are_gone():
    drive = Drive(2)
    assert drive.do(events.TargetChanged, 1) == [Cancel(("J1_2",))]
    drive.do(events.Cancelled)
    assert drive.do(events.TargetChanged, 2) == [Submit(3, 3)]
    drive.took(3, 3)
    drive.poll(J1_1=RUNNING, J2_3=RUNNING)
    assert set(drive.machine.slots) == {1, 3}


def test_scaling_to_nothing_and_back():
    drive = Drive(2)
    assert drive.do(events.TargetChanged, 0) == [Cancel(("J1_1", "J1_2"))]
    drive.do(events.Cancelled)
    drive.poll()
    assert drive.machine.slots == {}
    assert drive.do(events.TargetChanged, 2) == [Submit(1, 2)]


def test_a_cancellation_that_failed_is_repeated():
    drive = Drive(2)
    drive.do(events.TargetChanged, 1)
    assert drive.do(events.CancelFailed, "connect failure") == []
    before_s = drive.now_s
    while Cancel(("J1_2",)) not in (actions := drive.sleep()):
        if actions:
            drive.do(events.PollFailed, "connect failure")
    assert 0 < drive.now_s - before_s < 5


# -- the end ---------------------------------------------------------------------------------------
