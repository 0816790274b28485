"""The nanny's decisions, without a process or a clock."""

from __future__ import annotations

import random

import pytest

from distributed.nanny import actions, events
from distributed.nanny.machine import NannyMachine, RestartPolicy

ADDRESS = "10.0.0.1:1234"


def started(now_s: float = 0.0, memory_limit: int = 0) -> NannyMachine:
    machine = NannyMachine(memory_limit=memory_limit)
    assert machine.handle(events.StartAsked(now_s)) == [actions.SpawnWorker()]
    assert machine.state == "starting"
    return machine


def running(now_s: float = 0.0, memory_limit: int = 0) -> NannyMachine:
    machine = started(now_s, memory_limit)
    register(machine, now_s)
    return machine


def register(machine: NannyMachine, now_s: float) -> None:
    assert machine.handle(events.WorkerListened(ADDRESS)) == []
    assert machine.handle(events.WorkerRegistered(now_s)) == []
    assert machine.state == "running"


def died(now_s: float, how: str = "killed by signal 9 (SIGKILL)", code: int = -9):
    return events.WorkerExited(now_s, code, how)


def come_back(machine: NannyMachine, now_s: float) -> float:
    """Let the worker die at ``now_s`` and start again as soon as allowed; return when that is."""
    *_, wake = machine.handle(died(now_s))
    assert isinstance(wake, actions.WakeAt)
    assert machine.state == "restarting"
    assert machine.handle(events.TimePassed(wake.when_s)) == [actions.SpawnWorker()]
    return wake.when_s


def test_a_worker_that_registers_is_running():
    machine = running()
    assert machine.worker_address == ADDRESS
    assert machine.has_process


def test_starting_twice_starts_once():
    machine = started()
    assert machine.handle(events.StartAsked(1.0)) == []


def test_a_killed_worker_is_reported_at_once_and_started_again():
    machine = running()
    report, wake = machine.handle(died(100.0))
    assert report == actions.ReportExit(ADDRESS, "killed by signal 9 (SIGKILL)", expected=False)
    assert wake == actions.WakeAt(pytest.approx(100.1))
    assert machine.state == "restarting"
    assert machine.worker_address == ""
    assert machine.handle(events.TimePassed(100.05)) == []
    assert machine.handle(events.TimePassed(wake.when_s)) == [actions.SpawnWorker()]
    assert machine.restarts == 1


def test_a_worker_that_nobody_knew_is_not_reported():
    machine = started()
    assert machine.handle(died(1.0)) == [actions.WakeAt(pytest.approx(1.1))]


def test_pauses_double_up_to_the_longest():
    machine = running()
    now_s, pauses = 0.0, []
    for _ in range(12):
        later_s = come_back(machine, now_s)
        pauses.append(later_s - now_s)
        now_s = later_s
        register(machine, now_s)
    expected = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]
    assert pauses == pytest.approx(expected)


def test_a_minute_of_good_life_makes_the_next_pause_short_again():
    machine = running()
    now_s = 0.0
    for _ in range(8):
        now_s = come_back(machine, now_s)
        register(machine, now_s)
    assert come_back(machine, now_s + 60.0) == pytest.approx(now_s + 60.1)


def test_gives_up_after_five_deaths_in_a_row_before_registering():
    machine = started()
    now_s = 0.0
    for _ in range(4):
        now_s = come_back(machine, now_s)
    (end,) = machine.handle(died(now_s, "exit code 70: no module named x", 70))
    assert isinstance(end, actions.EndNanny)
    assert end.exit_code == 1
    assert "5 workers in a row" in end.reason
    assert "exit code 70: no module named x" in end.reason
    assert machine.state == "given-up"
    assert machine.handle(events.TimePassed(now_s + 1000.0)) == []


def test_a_registration_forgives_the_failed_starts_before_it():
    machine = started()
    now_s = 0.0
    for _ in range(3):
        for _ in range(4):
            now_s = come_back(machine, now_s)
        register(machine, now_s)
    assert machine.state == "running"


def test_gives_up_after_twenty_short_lives_in_a_row():
    machine = running()
    now_s = 0.0
    for _ in range(19):
        now_s = come_back(machine, now_s)
        register(machine, now_s)
    report, end = machine.handle(died(now_s + 59.0))
    assert isinstance(report, actions.ReportExit)
    assert isinstance(end, actions.EndNanny)
    assert "20 workers in a row lived less than 60 s" in end.reason


def test_a_first_start_that_says_what_is_wrong_is_not_tried_again():
    machine = started()
    reason = "exit code 1: the name w is taken"
    assert machine.handle(events.WorkerExited(1.0, 1, reason)) == [actions.EndNanny(reason, 1)]
    assert machine.state == "given-up"


def test_a_later_start_that_fails_is_tried_again():
    # The scheduler may not have noticed yet that our own predecessor is gone.
    machine = running()
    now_s = come_back(machine, 0.0)
    (wake,) = machine.handle(events.WorkerExited(now_s, 1, "exit code 1: the name w is taken"))
    assert isinstance(wake, actions.WakeAt)


@pytest.mark.parametrize("code", [0, 3])
def test_a_worker_that_ends_by_itself_takes_the_nanny_with_it(code):
    machine = running()
    reason = f"exit code {code}: the scheduler is gone"
    assert machine.handle(events.WorkerExited(5.0, code, reason)) == [actions.EndNanny(reason, code)]
    assert machine.state == "stopped"


@pytest.mark.parametrize("code", [0, 3])
def test_a_process_that_a_task_ended_is_a_death_whatever_the_code(code):
    machine = running()
    report, wake = machine.handle(events.WorkerExited(5.0, code, f"exit code {code}", announced=False))
    assert report == actions.ReportExit(ADDRESS, f"exit code {code}", expected=False)
    assert isinstance(wake, actions.WakeAt)
    assert machine.state == "restarting"


def test_a_task_that_ends_the_process_while_it_stops_is_told():
    machine = running()
    machine.handle(events.StopAsked(10.0, 5.0))
    (report,) = machine.handle(events.WorkerExited(10.2, 0, "exit code 0", announced=False))
    assert report == actions.ReportExit(ADDRESS, "exit code 0", expected=True)


def test_stopping_asks_first_and_kills_after_the_grace():
    machine = running()
    assert machine.handle(events.StopAsked(10.0, 5.0)) == [
        actions.StopWorker(),
        actions.WakeAt(15.0),
    ]
    assert machine.state == "stopping"
    assert machine.handle(events.TimePassed(14.9)) == []
    (kill,) = machine.handle(events.TimePassed(15.0))
    assert isinstance(kill, actions.KillWorker)
    (report,) = machine.handle(died(15.1))
    assert report == actions.ReportExit(ADDRESS, "killed by signal 9 (SIGKILL)", expected=True)
    assert machine.state == "stopped"
    assert not machine.has_process


def test_a_worker_that_stops_as_told_has_said_goodbye_itself():
    machine = running()
    machine.handle(events.StopAsked(10.0, 5.0))
    assert machine.handle(events.WorkerExited(10.2, 0, "exit code 0")) == []
    assert machine.state == "stopped"
    assert machine.handle(events.TimePassed(15.0)) == []


def test_stopping_twice_takes_the_shorter_grace_and_asks_once():
    machine = running()
    machine.handle(events.StopAsked(10.0, 5.0))
    assert machine.handle(events.StopAsked(11.0, 1.0)) == [actions.WakeAt(12.0)]
    assert machine.handle(events.StopAsked(11.0, 60.0)) == [actions.WakeAt(12.0)]


def test_stopping_during_the_pause_ends_it():
    machine = running()
    machine.handle(died(1.0))
    assert machine.handle(events.StopAsked(1.05, 5.0)) == []
    assert machine.state == "stopped"
    assert machine.handle(events.TimePassed(2.0)) == []


def test_restarting_waits_for_the_old_process_and_starts_fresh():
    machine = running()
    machine.handle(events.RestartAsked(1.0, 2.0))
    assert machine.state == "stopping"
    assert machine.handle(events.WorkerExited(1.5, 0, "exit code 0")) == [actions.SpawnWorker()]
    assert machine.state == "starting"
    register(machine, 2.0)


def test_restarting_during_the_pause_or_after_giving_up_starts_at_once():
    machine = running()
    machine.handle(died(1.0))
    assert machine.handle(events.RestartAsked(1.0, 2.0)) == [actions.SpawnWorker()]
    machine = started()
    machine.handle(events.WorkerExited(1.0, 1, "exit code 1"))
    assert machine.state == "given-up"
    assert machine.handle(events.RestartAsked(2.0, 2.0)) == [actions.SpawnWorker()]


def test_a_stop_after_a_restart_wins():
    machine = running()
    machine.handle(events.RestartAsked(1.0, 2.0))
    machine.handle(events.StopAsked(1.1, 5.0))
    assert machine.handle(events.WorkerExited(1.5, 0, "exit code 0")) == []
    assert machine.state == "stopped"


def test_a_start_while_stopping_starts_after_it():
    machine = running()
    machine.handle(events.StopAsked(1.0, 5.0))
    assert machine.handle(events.StartAsked(1.1)) == []
    assert machine.handle(events.WorkerExited(1.5, 0, "exit code 0")) == [actions.SpawnWorker()]


def test_a_worker_above_its_memory_limit_is_killed_once_with_a_reason():
    machine = running(memory_limit=10 * 10**9)
    assert machine.handle(events.MemoryMeasured(9_500_000_000)) == []
    (kill,) = machine.handle(events.MemoryMeasured(9_600_000_000))
    assert isinstance(kill, actions.KillWorker)
    assert "used 9.60 GB of its 10.00 GB limit" in kill.reason
    assert machine.handle(events.MemoryMeasured(9_900_000_000)) == []
    report, _ = machine.handle(died(1.0))
    assert report == actions.ReportExit(ADDRESS, kill.reason, expected=False)


def test_the_next_worker_is_not_blamed_for_the_memory_of_the_last():
    machine = running(memory_limit=100)
    machine.handle(events.MemoryMeasured(99))
    now_s = come_back(machine, 1.0)
    register(machine, now_s)
    report, _ = machine.handle(died(now_s))
    assert report.reason == "killed by signal 9 (SIGKILL)"


def test_without_a_limit_nothing_is_too_much():
    assert running().handle(events.MemoryMeasured(10**15)) == []


def test_exits_reported_when_there_is_no_process_change_nothing():
    machine = NannyMachine()
    assert machine.handle(died(1.0)) == []
    assert machine.state == "stopped"


def test_random_lives_never_have_two_processes_and_never_stall():
    """A process table of at most one, and in each state something that will move it on."""
    policy = RestartPolicy(start_failures=10**6, short_lives=10**6)
    for seed in range(200):
        rng = random.Random(seed)
        machine = NannyMachine(memory_limit=100, policy=policy)
        now_s, alive, wake_s = 0.0, 0, None
        for _ in range(60):
            now_s += rng.choice([0.0, 0.05, 1.0, 61.0])
            event = rng.choice(
                [
                    events.StartAsked(now_s),
                    events.StopAsked(now_s, rng.choice([0.0, 5.0])),
                    events.RestartAsked(now_s, 2.0),
                    events.WorkerListened(ADDRESS),
                    events.WorkerRegistered(now_s),
                    died(now_s),
                    events.WorkerExited(now_s, rng.choice([0, 1, 3, 70]), "ended"),
                    events.MemoryMeasured(rng.choice([50, 99])),
                    events.TimePassed(now_s),
                ]
            )
            if isinstance(event, events.WorkerExited) and not alive:
                continue
            if isinstance(event, events.WorkerListened | events.WorkerRegistered) and not alive:
                continue
            if isinstance(event, events.WorkerExited):
                alive -= 1
            for action in machine.handle(event):
                if isinstance(action, actions.SpawnWorker):
                    alive += 1
                elif isinstance(action, actions.WakeAt):
                    wake_s = action.when_s
            assert alive == int(machine.has_process), (seed, event, machine.state)
            if machine.state == "restarting":
                assert wake_s is not None
                assert wake_s <= now_s + policy.longest_delay_s
