"""Tasks that wait behind one that does not end, on a clock of the test's own."""

from __future__ import annotations

import pytest

from distributed.worker.backlog import Backlog
from tests.clocks import Clock


class Bench:
    """So many tasks ``waiting``, so many ``ended``; ``told`` has the times at which it was told."""

    def __init__(self, clock):
        self.waiting = self.ended = 0
        self.told = []
        self.backlog = Backlog(lambda: self.waiting, lambda: self.ended, lambda: self.told.append(clock.now_s - 1000.0))


@pytest.fixture
def clock(monkeypatch):
    return Clock.install(monkeypatch)


@pytest.fixture
def bench(clock):
    return Bench(clock)


def test_nothing_waits_nothing_is_looked_at(clock, bench):
    bench.backlog.stir()
    assert not clock.calls


def test_who_waits_for_a_second_without_an_end_is_told_of_and_then_seldomer(clock, bench):
    bench.waiting = 3
    bench.backlog.stir()
    bench.backlog.stir()  # it is looked after already
    clock.go(1000.9)
    assert not bench.told
    clock.go(1001.6)
    assert len(bench.told) == 1
    clock.go(1300.0)
    pauses = [after - before for before, after in zip(bench.told, bench.told[1:], strict=False)]
    bounds = [2, 4, 8, 16, 32, 64, 64, 64]
    assert all(least <= pause <= 1.5 * least for pause, least in zip(pauses, bounds, strict=False))
    assert len(bench.told) >= 7


def test_as_long_as_tasks_end_nobody_is_told(clock, bench):
    bench.waiting = 3
    bench.backlog.stir()
    for second in range(1, 20):
        bench.ended += 1
        clock.go(1000.0 + second)
    assert not bench.told
    clock.go(1024.0)
    assert bench.told


def test_an_end_makes_it_quick_again(clock, bench):
    bench.waiting = 3
    bench.backlog.stir()
    clock.go(1030.0)
    bench.ended += 1
    clock.go(1060.0)
    bench.told.clear()
    bench.ended += 1
    clock.go(1200.0)
    pauses = [after - before for before, after in zip(bench.told, bench.told[1:], strict=False)]
    assert min(pauses) <= 3.0


def test_as_long_as_others_take_tasks_away_they_are_told_every_second(clock, bench):
    bench.waiting = 64
    bench.backlog.stir()
    for _ in range(5):
        told = len(bench.told)
        clock.go(clock.now_s + 3.1)
        assert len(bench.told) > told
        bench.waiting //= 2
    assert clock.now_s < 1016.0
    assert len(bench.told) <= 10


def test_when_nobody_waits_any_more_it_ends_and_begins_anew(clock, bench):
    bench.waiting = 1
    bench.backlog.stir()
    bench.waiting = 0
    clock.go(1010.0)
    assert not clock.calls
    assert not bench.told
    bench.waiting = 1
    bench.backlog.stir()
    clock.go(1011.6)
    assert len(bench.told) == 1


def test_stopped_it_tells_nobody(clock, bench):
    bench.waiting = 1
    bench.backlog.stir()
    bench.backlog.stop()
    clock.go(1100.0)
    assert not bench.told
