"""The threads that run tasks: they take task after task from one queue and report in bulk.

A thread that ends a task appends the outcome and wakes the loop only if nobody has since the loop
last looked, so a thousand short tasks cost one wake-up, and there is no round trip through the loop
between two tasks, nor between a task and the one that waits for its result.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Final, Protocol

from distributed.messages import RunTask, TaskFinished
from distributed.worker.events import Outcome
from distributed.worker.held import Held

__all__ = ["Executor", "Runner"]

_MOST_UNTAKEN: Final = 1000
"""Outcomes with which a thread gives way to the loop, which else gets the interpreter's lock every 5 ms only: the
scheduler should hear of them while further tasks run."""
_LONGEST_WAIT_S: Final = 0.02
"""So long a thread gives way at most: the loop may have other things to do."""


class Runner(Protocol):
    """What a thread does with a task; must not raise.  ``known``: results that are not in the store yet."""

    def __call__(self, task: RunTask, known: dict[str, Held] = ..., /) -> Outcome: ...  # noqa: D102


class Executor:
    """``nthreads`` threads, started when first needed.

    ``run`` carries out one task in a thread; ``wake`` is called from a thread when there are
    outcomes to take, and must be safe from any thread.  All other methods are for the loop's
    thread.  ``ended`` counts the outcomes that were taken.
    """

    def __init__(self, nthreads: int, run: Runner, wake: Callable[[], None], name: str = "task") -> None:
        self._nthreads = nthreads
        self._run = run
        self._wake = wake
        self._name = name
        self._lock = threading.Lock()
        self._more = threading.Condition(self._lock)
        # Most tasks come in the order in which they shall run; only the others pay for the heap.
        self._fifo: deque[RunTask] = deque()
        self._heap: list[tuple[int, int, RunTask]] = []
        self._last_rank = 0
        self._numbers = count()
        # Who takes a task out of here has it: in one step, so threads need no lock for that.
        self._queued: set[RunTask] = set()
        # A leader's follower, a follower's leader; and the followers that a thread went on with.  For each of these
        # comes a push or a withdrawal, which is when it is forgotten.
        self._followers: dict[RunTask, RunTask] = {}
        self._leaders: dict[RunTask, RunTask] = {}
        self._taken: set[RunTask] = set()
        self._outcomes: deque[Outcome] = deque()
        self._woken = False
        self._deferred = False
        self._room = threading.Condition(self._lock)
        self._waiting = 0
        self.ended = 0
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._paused = False
        self._closed = False

    @property
    def executing(self) -> int:
        """How many threads are in a task."""
        return len(self._threads) - self._idle

    @property
    def queued(self) -> int:
        """How many tasks wait for a thread."""
        return len(self._queued)

    def push(self, tasks: list[RunTask]) -> None:
        """Queue tasks; lower ``rank`` runs first, then what came first.

        Nothing happens for one that a thread went on with.
        """
        with self._lock:
            if self._leaders or self._taken:
                tasks = [task for task in tasks if not self._has_begun(task)]
            self._queued.update(tasks)
            self._line_up(tasks)
            self._summon()

    def _has_begun(self, task: RunTask) -> bool:
        self._detach(task)
        begun = task in self._taken
        self._taken.discard(task)
        return begun

    def _line_up(self, tasks: list[RunTask]) -> None:
        fifo = self._fifo
        ranks = [task.rank for task in tasks]
        if not fifo:
            self._last_rank = ranks[0] if ranks else 0
        if ranks and ranks[0] >= self._last_rank and ranks == sorted(ranks):
            self._last_rank = ranks[-1]
            fifo.extend(tasks)
            return
        for task in tasks:
            if task.rank >= self._last_rank:
                self._last_rank = task.rank
                fifo.append(task)
            else:
                heappush(self._heap, (task.rank, next(self._numbers), task))

    def follow(self, pairs: list[tuple[RunTask, RunTask]]) -> None:
        """Let the thread that ends the first of a pair well go on with the second.

        It may have ended already: each second one must be pushed when the loop knows of the first one's end, or
        withdrawn.
        """
        with self._lock:
            for leader, follower in pairs:
                self._followers[leader] = follower
                self._leaders[follower] = leader

    def _detach(self, follower: RunTask) -> bool:
        leader = self._leaders.pop(follower, None)
        if leader is None:
            return False
        del self._followers[leader]
        return True

    def withdraw(self, tasks: list[RunTask]) -> list[RunTask]:
        """Take tasks out of the queue; return those that had not started."""
        with self._lock:
            # One by one: a task may be asked back twice, as stolen and as cancelled.
            taken = [task for task in tasks if self._claim(task) or self._detach(task)]
            self._taken.difference_update(tasks)
            if not self._queued:
                self._fifo.clear()
                self._heap.clear()
        return taken

    def _claim(self, task: RunTask) -> bool:
        """Take a task out of the queue, for which a thread may reach at the same time; return whether it was there."""
        try:
            self._queued.remove(task)
        except KeyError:
            return False
        return True

    def take(self) -> list[Outcome]:
        """Return the outcomes since the last call."""
        # First the flag, then the outcomes: one that comes in between wakes the loop once more,
        # none is left behind.
        self._woken = self._deferred = False
        outcomes = self._outcomes
        taken = [outcomes.popleft() for _ in range(len(outcomes))]
        self.ended += len(taken)
        if self._waiting:
            with self._lock:
                self._room.notify_all()
        return taken

    def defer(self) -> None:
        """The loop is about to look by itself: do not wake it before there are many outcomes, or nothing is queued."""
        self._deferred = self._woken = True

    def pause(self) -> None:
        """Start no task until ``resume``; those that run run on."""
        with self._lock:
            self._paused = True

    def resume(self) -> None:
        """Start tasks again."""
        with self._lock:
            self._paused = False
            self._summon()

    def close(self, timeout_s: float = 0.0) -> None:
        """Let the threads end after their present task; wait for the idle ones up to ``timeout_s``
        seconds each.

        A thread in user code cannot be stopped; it does not keep the process from ending.
        """
        with self._lock:
            self._closed = True
            self._queued.clear()
            self._fifo.clear()
            self._heap.clear()
            self._followers.clear()
            self._leaders.clear()
            idle = self._idle
            self._more.notify_all()
            self._room.notify_all()
        if idle == len(self._threads):
            for thread in self._threads:
                thread.join(timeout_s)

    def _summon(self) -> None:
        """Wake or start as many threads as there is work for; the lock is held."""
        if self._paused or self._closed:
            return
        wanted = len(self._queued)
        if self._idle:
            self._more.notify(wanted)
        for _ in range(min(self._nthreads - len(self._threads), wanted - self._idle)):
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _next(self) -> RunTask | None:
        """Wait for a task and return it; None when closed."""
        with self._lock:
            while True:
                if self._closed:
                    return None
                while not self._paused and (task := self._first_in_line()) is not None:
                    if self._claim(task):
                        return task
                self._idle += 1
                self._more.wait()
                self._idle -= 1

    def _first_in_line(self) -> RunTask | None:
        """Take out what comes next.  Other threads take from the line meanwhile, but never from the heap."""
        fifo, heap = self._fifo, self._heap
        while True:
            rank = self._rank_in_line()
            if heap and heap[0][0] < rank:
                return heappop(heap)[2]
            if not fifo:
                return None
            with contextlib.suppress(IndexError):  # another thread was faster
                return fifo.popleft()

    def _rank_in_line(self) -> float:
        """Return the rank of the first task in line; infinity if there is none."""
        try:
            return self._fifo[0].rank
        except IndexError:
            return math.inf

    def _next_in_line(self, outcome: Outcome) -> tuple[RunTask, dict[str, Held]] | None:
        """Return what follows the task of this outcome, to go on with, and the result that it waits for."""
        leader, message, value = outcome
        if type(message) is not TaskFinished:
            return None
        with self._lock:
            follower = self._followers.get(leader)
            if follower is None or self._paused or self._closed or self._is_behind(follower.rank):
                return None  # it will be pushed
            self._detach(follower)
            self._taken.add(follower)
        return follower, {leader.key: Held(value, message.nbytes)}

    def _is_behind(self, rank: int) -> bool:
        """Whether a task of this rank comes after one that is queued."""
        return self._rank_in_line() < rank or (bool(self._heap) and self._heap[0][0] < rank)

    def _work(self) -> None:
        run, outcomes, queued, fifo, heap = self._run, self._outcomes, self._queued, self._fifo, self._heap
        while True:
            try:
                # Most come in line: two steps that no other thread can come between, and no lock.
                if heap or self._paused:
                    task = self._next()
                else:
                    task = fifo.popleft()
                    queued.remove(task)
            except (IndexError, KeyError):
                task = self._next()
            if task is None:
                return
            outcome, found = run(task), None
            while True:
                outcomes.append(outcome)
                if not self._woken:
                    self._woken = True
                    self._wake()
                elif len(outcomes) >= _MOST_UNTAKEN or not queued:
                    self._urge()
                if not self._followers or (found := self._next_in_line(outcome)) is None:
                    break
                outcome = run(*found)
            del task, outcome, found  # or an idle thread would keep the last result

    def _urge(self) -> None:
        """There is much for the loop to take, or nothing to come: it should not wait any longer."""
        with self._lock:
            if self._deferred:
                self._deferred = False
                self._wake()
            if len(self._outcomes) >= _MOST_UNTAKEN and not self._closed:
                self._waiting += 1
                self._room.wait(_LONGEST_WAIT_S)
                self._waiting -= 1
