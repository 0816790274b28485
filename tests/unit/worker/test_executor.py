"""The threads that run tasks."""

from __future__ import annotations

import random
import threading

import pytest

from distributed.messages import RunTask
from distributed.worker.executor import Executor
from tests.aio import until_sync


def task(key, rank=0, run=1):
    return RunTask(key, run, "f", b"", rank)


class Bench:
    """An executor whose tasks wait for a gate, and what it reported."""

    def __init__(self, nthreads=1):
        self.gate = threading.Event()
        self.started = []
        self.wakes = 0
        self.executor = Executor(nthreads, self.run, self.wake)
        self.got = []

    def run(self, task):
        self.started.append(task.key)
        assert self.gate.wait(10)
        return task, "message", None

    def wake(self):
        self.wakes += 1

    def ended(self):
        self.got.extend(task.key for task, _, _ in self.executor.take())
        return self.got


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.gate.set()
    bench.executor.close()
    until_sync(lambda: not any(t.is_alive() for t in bench.executor._threads))


def start_one(bench):
    bench.executor.push([task("first")])
    until_sync(lambda: bench.started == ["first"])


def test_tasks_run_by_rank_then_in_order(bench):
    start_one(bench)
    bench.executor.push([task("c", 21), task("a", 15), task("b", 19), task("d", 21)])
    assert bench.executor.queued == 4
    bench.gate.set()
    until_sync(lambda: len(bench.ended()) == 5)
    assert bench.started == ["first", "a", "b", "c", "d"]


@pytest.mark.parametrize("seed", range(20))
def test_however_they_come_those_of_a_rank_run_as_they_came(bench, seed):
    chance = random.Random(seed)
    ranks = [chance.randrange(5) for _ in range(40)]
    tasks = [task(f"{rank} {number:02}", rank) for number, rank in enumerate(ranks)]
    bench.executor.pause()
    while tasks:
        bench.executor.push([tasks.pop(0) for _ in range(min(len(tasks), chance.randrange(1, 6)))])
    bench.gate.set()
    bench.executor.resume()
    until_sync(lambda: len(bench.ended()) == len(ranks))
    assert bench.started == sorted(bench.started)


def test_many_ends_wake_the_loop_once(bench):
    start_one(bench)
    bench.executor.push([task(str(n)) for n in range(500)])
    bench.gate.set()
    until_sync(lambda: len(bench.started) == 501 and bench.executor.executing == 0)
    assert bench.wakes == 1
    assert len(bench.ended()) == 501
    bench.executor.push([task("again")])
    until_sync(lambda: "again" in bench.ended())
    assert bench.wakes == 2


def test_withdrawn_tasks_do_not_run(bench):
    start_one(bench)
    a, b = task("a"), task("b")
    bench.executor.push([a, b])
    assert bench.executor.withdraw([a, task("b"), task("first"), task("unknown")]) == [a]
    assert bench.executor.withdraw([a]) == []
    bench.gate.set()
    until_sync(lambda: bench.ended() == ["first", "b"])


def test_a_newer_run_of_a_key_takes_the_older_ones_place(bench):
    start_one(bench)
    old, new = task("a", run=1), task("a", run=2)
    bench.executor.push([old])
    bench.executor.push([new])
    assert bench.executor.withdraw([old]) == []
    bench.gate.set()
    until_sync(lambda: bench.ended() == ["first", "a"])


def test_paused_no_task_starts_until_resumed(bench):
    bench.executor.pause()
    bench.executor.push([task("a")])
    assert bench.executor.executing == 0
    bench.gate.set()
    bench.executor.resume()
    until_sync(lambda: bench.ended() == ["a"])
    start = len(bench.executor._threads)
    bench.executor.pause()
    bench.executor.push([task("b")])
    bench.executor.resume()
    until_sync(lambda: bench.ended() == ["a", "b"])
    assert len(bench.executor._threads) == start


def test_paused_a_running_task_ends_and_the_next_one_waits(bench):
    start_one(bench)
    bench.executor.push([task("a")])
    bench.executor.pause()
    bench.gate.set()
    until_sync(lambda: bench.executor.executing == 0)
    assert bench.ended() == ["first"]
    bench.executor.resume()
    until_sync(lambda: bench.ended() == ["first", "a"])


def test_as_many_tasks_at_once_as_threads_and_no_thread_without_need():
    bench = Bench(nthreads=3)
    assert not bench.executor._threads
    bench.executor.push([task("a")])
    until_sync(lambda: bench.started == ["a"])
    assert len(bench.executor._threads) == 1
    bench.executor.push([task(str(n)) for n in range(5)])
    until_sync(lambda: len(bench.started) == 3)
    assert bench.executor.executing == 3
    bench.gate.set()
    until_sync(lambda: len(bench.ended()) == 6)
    until_sync(lambda: bench.executor.executing == 0)
    bench.executor.close(5)
    assert not any(thread.is_alive() for thread in bench.executor._threads)


def test_closed_the_queue_is_forgotten_and_a_running_task_ends_alone(bench):
    start_one(bench)
    bench.executor.push([task("never")])
    bench.executor.close()
    assert bench.executor.queued == 0
    bench.gate.set()
    until_sync(lambda: bench.ended() == ["first"])
    bench.executor.push([task("late")])
    until_sync(lambda: not bench.executor._threads[0].is_alive())
    assert bench.started == ["first"]
