"""When memory is measured and when a heartbeat is due, on a clock of the test's own."""

from __future__ import annotations

import pytest

from distributed.worker.heartbeats import Heartbeats
from tests.clocks import Clock


@pytest.fixture
def clock(monkeypatch):
    return Clock.install(monkeypatch)


def busy():
    return False


def quiet():
    return True


@pytest.mark.parametrize(("period_s", "measured", "due"), [(10.0, 100, 100), (100.0, 100, 10), (2.0, 500, 500)])
def test_memory_is_measured_as_often_as_ever_and_heartbeats_are_as_many_as_wanted(clock, period_s, measured, due):
    told = []
    Heartbeats(told.append, busy).every(period_s)
    clock.go(2000.0)
    assert abs(len(told) - measured) <= 2
    assert abs(sum(told) - due) <= 1


def test_the_last_period_counts_and_nothing_is_measured_twice(clock):
    told = []
    heartbeats = Heartbeats(told.append, busy)
    heartbeats.every(1.0)
    clock.go(1003.0)
    heartbeats.every(50.0)
    told.clear()
    clock.go(1103.0)
    assert len(told) in (10, 11)
    assert sum(told) in (1, 2)
    heartbeats.stop()
    told.clear()
    clock.go(1500.0)
    assert told == []


def test_of_many_that_begin_at_once_not_all_speak_at_once(clock):
    spoke = set()
    for _ in range(50):
        Heartbeats(lambda due: spoke.add(round(clock.now_s, 3)) if due else None, busy).every(100.0)
    clock.go(1105.0)
    assert len(spoke) > 25


@pytest.mark.parametrize("period_s", [10.0, 100.0])
def test_a_worker_with_nothing_to_do_says_once_in_a_hundred_seconds_that_it_lives(clock, period_s):
    told = []
    Heartbeats(told.append, quiet).every(period_s)
    clock.go(1000.0 + period_s)
    told.clear()
    clock.go(2000.0 + period_s)
    assert len(told) in (9, 10, 11)
    assert all(told)


def test_what_comes_wakes_it_at_once_and_its_usual_ways_begin_again(clock):
    told, is_quiet = [], True
    heartbeats = Heartbeats(told.append, lambda: is_quiet)
    heartbeats.every(10.0)
    clock.go(1030.0)
    assert heartbeats.asleep
    is_quiet = False
    heartbeats.stir()
    told.clear()
    clock.go(1130.0)
    assert abs(len(told) - 10) <= 1
    assert abs(sum(told) - 10) <= 1
    heartbeats.stir()  # it is not asleep: nothing changes
    told.clear()
    clock.go(1141.0)
    assert len(told) in (1, 2)


def test_who_is_stirred_again_and_again_for_a_moment_does_not_speak_more_often_for_that(clock):
    told = []
    heartbeats = Heartbeats(lambda due: told.append(clock.now_s) if due else None, quiet)
    heartbeats.every(10.0)
    for now_s in range(1000, 1200, 4):
        clock.go(float(now_s))
        heartbeats.stir()
    assert len(told) <= 21
    assert told[0] <= 1003.0, "it says soon what it is like"
