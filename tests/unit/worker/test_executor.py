"""The threads that run tasks."""

from __future__ import annotations

import random
import threading
import weakref

import pytest

from distributed.messages import ErrorInfo, RunTask, TaskErred, TaskFinished
from distributed.worker.executor import Executor
from tests.aio import until_sync


def task(key, rank=0, run=1):
    return RunTask(key, run, "f", b"", rank)


class Bench:
    """An executor whose tasks wait for a gate, some for one of their own, and what it reported."""

    def __init__(self, nthreads=1):
        self.gate = threading.Event()
        self.holds = {}
        self.started = []
        self.wakes = 0
        self.executor = Executor(nthreads, self.run, self.wake)
        self.got = []

    def run(self, task):
        self.started.append(task.key)
        assert self.holds.get(task.key, self.gate).wait(10)
        return task, "message", None

    def wake(self):
        self.wakes += 1

    def ended(self):
        self.got.extend(task.key for task, _, _ in self.executor.take())
        return self.got


def lent(bench):
    """Give a bench to a test, and end its threads after it."""
    yield bench
    bench.gate.set()
    bench.executor.close()
    until_sync(lambda: not any(t.is_alive() for t in bench.executor._threads))


@pytest.fixture
def bench():
    yield from lent(Bench())


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


def test_an_order_is_itself_alone_whatever_its_key(bench):
    start_one(bench)
    old, new = task("a", run=1), task("a", run=2)
    bench.executor.push([old])
    bench.executor.push([new])
    assert bench.executor.withdraw([old]) == [old]
    assert bench.executor.queued == 1
    bench.gate.set()
    until_sync(lambda: bench.ended() == ["first", "a"])


def test_what_ranks_before_all_that_is_gone_pays_for_no_heap(bench):
    bench.gate.set()
    bench.executor.push([task("late", 9)])
    until_sync(lambda: bench.ended() == ["late"])
    bench.executor.pause()
    bench.executor.push([task("a", 1), task("b", 2)])
    bench.executor.push([task("c", 3)])
    assert not bench.executor._heap


@pytest.mark.parametrize("seed", range(5))
def test_each_task_is_run_or_withdrawn_once_however_many_threads_reach_for_it(seed):
    chance = random.Random(seed)
    bench = Bench(nthreads=4)
    bench.gate.set()
    tasks, withdrawn = [task(str(n), chance.randrange(3)) for n in range(3000)], []
    for start in range(0, len(tasks), 100):
        some = tasks[start : start + 100]
        bench.executor.push(some)
        withdrawn += [one.key for one in bench.executor.withdraw(chance.sample(some, 20))]
        bench.ended()
    until_sync(lambda: len(bench.ended()) + len(withdrawn) == len(tasks))
    assert sorted(bench.got + withdrawn, key=int) == [one.key for one in tasks]
    assert bench.executor.queued == 0
    bench.executor.close(5)


def test_a_loop_that_looks_by_itself_is_woken_when_nothing_more_is_to_come(bench):
    hold = threading.Event()
    bench.holds["b"] = hold
    bench.gate.set()
    bench.executor.pause()
    bench.executor.push([task("a"), task("b"), task("c")])
    bench.executor.defer()
    bench.executor.resume()
    until_sync(lambda: bench.started == ["a", "b"])
    assert bench.wakes == 0
    assert [one.key for one, _, _ in bench.executor._outcomes] == ["a"]
    hold.set()
    until_sync(lambda: bench.wakes == 1)
    until_sync(lambda: bench.ended() == ["a", "b", "c"])
    bench.executor.push([task("d")])
    until_sync(lambda: bench.wakes == 2)


@pytest.fixture
def patient(monkeypatch):
    """Threads that wait for the loop for as long as it takes, from two results on."""
    monkeypatch.setattr("distributed.worker.executor._MOST_UNTAKEN", 2)
    monkeypatch.setattr("distributed.worker.executor._LONGEST_WAIT_S", 3600.0)


@pytest.mark.usefixtures("patient")
def test_a_thread_with_many_results_waits_until_the_loop_has_taken_them(bench):
    start_one(bench)
    bench.executor.push([task(str(n)) for n in range(4)])
    bench.gate.set()
    until_sync(lambda: bench.executor._waiting == 1)
    assert bench.started == ["first", "0"]
    assert bench.ended() == ["first", "0"]
    until_sync(lambda: bench.executor._waiting == 1 and len(bench.executor._outcomes) == 2)
    assert bench.ended() == ["first", "0", "1", "2"]
    until_sync(lambda: len(bench.ended()) == 5)
    assert bench.wakes == 3


@pytest.mark.usefixtures("patient")
def test_closed_no_thread_waits_for_the_loop(bench):
    start_one(bench)
    bench.executor.push([task("a"), task("b")])
    bench.gate.set()
    until_sync(lambda: bench.executor._waiting == 1)
    bench.executor.close()
    until_sync(lambda: not bench.executor._threads[0].is_alive())


def test_a_thread_does_not_wait_for_ever_for_a_loop_that_is_busy(bench, monkeypatch):
    monkeypatch.setattr("distributed.worker.executor._MOST_UNTAKEN", 2)
    start_one(bench)
    bench.executor.push([task(str(n)) for n in range(4)])
    bench.gate.set()
    until_sync(lambda: len(bench.started) == 5 and bench.executor.executing == 0)


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


def known_of(executor):
    """What it remembers of those that follow others."""
    return [*executor._followers, *executor._leaders, *executor._taken]


class Line(Bench):
    """Tasks that end at once; ``known`` to each was what ``saw`` tells."""

    def __init__(self, nthreads=1):
        super().__init__(nthreads)
        self.saw = {}
        self.fails = set()

    def run(self, task, known=None):
        self.started.append(task.key)
        self.saw[task.key] = {key: held.value for key, held in (known or {}).items()}
        assert self.gate.wait(10)
        if task.key in self.fails:
            return task, TaskErred(task.key, task.run, ErrorInfo("E", "m")), None
        return task, TaskFinished(task.key, task.run, 8, 0.1, "str"), f"value of {task.key}"


@pytest.fixture
def line():
    yield from lent(Line())


def test_a_thread_goes_on_with_what_follows_and_knows_the_result_before_anybody_else(line):
    first, second, third, other = (task(key) for key in ("first", "second", "third", "other"))
    line.executor.push([first, other])
    line.executor.follow([(first, second), (second, third)])
    line.gate.set()
    until_sync(lambda: len(line.ended()) == 4)
    assert line.started == ["first", "second", "third", "other"]
    assert line.saw["second"] == {"first": "value of first"}
    assert line.saw["third"] == {"second": "value of second"}
    # The loop learns of their leaders' ends now; they are not run again.
    line.executor.push([second, third, task("last")])
    until_sync(lambda: len(line.ended()) == 5)
    assert line.started[-1] == "last"
    assert not known_of(line.executor)


def test_what_came_too_late_to_follow_is_run_when_it_is_pushed(line):
    first, second = task("first"), task("second")
    line.gate.set()
    line.executor.push([first])
    until_sync(lambda: line.executor._outcomes)
    line.executor.follow([(first, second)])
    assert line.ended() == ["first"]
    line.executor.push([second])
    until_sync(lambda: line.ended() == ["first", "second"])
    assert line.saw["second"] == {}
    assert not known_of(line.executor)


def test_nothing_follows_what_failed(line):
    first, second = task("first"), task("second")
    line.fails.add("first")
    line.executor.push([first])
    line.executor.follow([(first, second)])
    line.gate.set()
    until_sync(lambda: line.ended() == ["first"])
    assert line.executor.withdraw([second]) == [second]
    assert line.started == ["first"]
    assert not known_of(line.executor)


def test_paused_nothing_follows_until_it_is_pushed_and_resumed(line):
    first, second = task("first"), task("second")
    line.executor.push([first])
    line.executor.follow([(first, second)])
    until_sync(lambda: line.started == ["first"])
    line.executor.pause()
    line.gate.set()
    until_sync(lambda: line.executor.executing == 0)
    assert line.ended() == ["first"]
    line.executor.push([second])
    line.executor.resume()
    until_sync(lambda: line.ended() == ["first", "second"])


@pytest.mark.parametrize("late", [False, True])
def test_what_ranks_before_a_follower_goes_first(line, late):
    first, second = task("first", 5), task("second", 4)
    line.executor.push([first])
    line.executor.follow([(first, second)])
    until_sync(lambda: line.started == ["first"])
    line.executor.push([task("later", 9), task("urgent", 1)] if late else [task("urgent", 1), task("later", 9)])
    line.gate.set()
    until_sync(lambda: "first" in line.ended())
    line.executor.push([second])
    until_sync(lambda: len(line.ended()) == 4)
    assert line.started.index("urgent") == 1
    assert line.started.index("second") > 1
    assert known_of(line.executor) == []


def test_a_follower_is_withdrawn_unless_a_thread_went_on_with_it(line):
    first, second, third = task("first"), task("second"), task("third")
    line.executor.push([first])
    line.executor.follow([(first, second), (second, third)])
    assert line.executor.withdraw([third]) == [third]
    line.gate.set()
    until_sync(lambda: line.ended() == ["first", "second"])
    assert line.executor.withdraw([second]) == []
    assert not known_of(line.executor)


def test_an_idle_thread_keeps_no_result(line):
    class Value:
        pass

    values = []

    def run(task, known=None):
        value = Value()
        values.append(weakref.ref(value))
        return task, TaskFinished(task.key, task.run, 8, 0.1, "Value"), value

    line.executor._run = run
    first, second = task("first"), task("second")
    line.executor.push([first])
    line.executor.follow([(first, second)])
    until_sync(lambda: len(line.executor._outcomes) == 2 or len(values) == 1)
    line.executor.push([second])
    until_sync(lambda: len(line.ended()) == 2 and line.executor.executing == 0)
    until_sync(lambda: all(value() is None for value in values))
