"""How often workers are to be heard, and how long silence is borne."""

from __future__ import annotations

import pytest

from distributed.scheduler import liveness
from distributed.scheduler.liveness import (
    BEATS_PER_S,
    HEARTBEAT_S,
    SILENCE_S,
    heartbeat_s,
    is_outdated,
    is_stuck,
    may_live,
)

CROWDS = (1, 10, 999, 1_000, 2_000, 5_000, 10_000, 100_000)


@pytest.mark.parametrize("workers", CROWDS)
def test_all_together_say_a_bounded_number_of_heartbeats(workers):
    assert heartbeat_s(workers) >= HEARTBEAT_S
    if workers <= 10_000:
        assert workers / heartbeat_s(workers) <= BEATS_PER_S


@pytest.mark.parametrize("workers", CROWDS)
def test_two_heartbeats_may_be_lost_before_a_worker_counts_as_stuck(workers):
    assert not is_stuck(2.9 * heartbeat_s(workers))
    assert is_stuck(SILENCE_S + 0.1)


def test_the_period_is_told_anew_when_the_cluster_has_grown_or_shrunk_by_half_and_not_each_time():
    """Ten thousand join one by one, each beats when it was told to: hardly any is told more than a few times."""
    told_s, tellings = heartbeat_s(1), 0
    for workers in range(1, 10_001):
        if is_outdated(told_s, workers):
            told_s, tellings = heartbeat_s(workers), tellings + 1
    assert tellings <= 7
    assert 0.6 < told_s / heartbeat_s(10_000) <= 1.0
    assert is_outdated(told_s, 10)
    assert not is_outdated(heartbeat_s(10), 20)


@pytest.mark.parametrize("workers", CROWDS)
def test_who_does_not_answer_may_live_for_a_heartbeat_and_some_time(workers):
    period_s = heartbeat_s(workers)
    assert may_live(period_s + 1.0, period_s)
    assert not may_live(period_s + 2 * HEARTBEAT_S + 1.0, period_s)


def test_two_thousand_simulated_heartbeats_of_an_hour_are_looked_at_and_nobody_is_given_up():
    """Each a period after the one before, the last one lost: the clock of each is looked at twice a minute."""
    period_s = heartbeat_s(2_000)
    last_s = [number * period_s / 2_000 for number in range(2_000)]
    beats = 0
    for now_s in range(30, 3_600, 30):
        for number, seen_s in enumerate(last_s):
            missed = int((now_s - seen_s) // period_s)
            beats += missed
            last_s[number] = seen_s + missed * period_s
        assert not any(is_stuck(now_s - seen_s) for seen_s in last_s)
    assert beats / 3_600 <= liveness.BEATS_PER_S
    assert all(is_stuck(3_600 + SILENCE_S + period_s - seen_s) for seen_s in last_s)
