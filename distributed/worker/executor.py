"""The threads that run tasks: they take task after task from one queue and report in bulk.

A thread that ends a task appends the outcome and wakes the loop only if nobody has since the loop
last looked, so a thousand short tasks cost one wake-up, and there is no round trip through the loop
between two tasks, nor between a task and the one that waits for its result.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

from distributed.messages import RunTask, TaskFinished
from distributed.worker.events import Outcome
from distributed.worker.held import Held

__all__ = ["Executor", "Runner"]


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
        self._numbers = count()
        self._queued: dict[str, RunTask] = {}
        # Identity of a leader -> its follower, of a follower -> its leader's; and the followers that a thread went on
        # with.  For each of these comes a push or a withdrawal, which is when it is forgotten.
        self._followers: dict[int, RunTask] = {}
        self._leaders: dict[int, int] = {}
        self._taken: dict[int, RunTask] = {}
        self._outcomes: deque[Outcome] = deque()
        self._woken = False
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

        A task of a key that is queued already takes its place.  Nothing happens for one that a
        thread went on with.
        """
        queued, fifo = self._queued, self._fifo
        with self._lock:
            for task in tasks:
                if self._leaders or self._taken:
                    self._detach(task)
                    if self._taken.pop(id(task), None) is not None:
                        continue
                queued[task.key] = task
                if not fifo or task.rank >= fifo[-1].rank:
                    fifo.append(task)
                else:
                    heappush(self._heap, (task.rank, next(self._numbers), task))
            self._summon()

    def follow(self, pairs: list[tuple[RunTask, RunTask]]) -> None:
        """Let the thread that ends the first of a pair well go on with the second.

        It may have ended already: each second one must be pushed when the loop knows of the first one's end, or
        withdrawn.
        """
        with self._lock:
            for leader, follower in pairs:
                self._followers[id(leader)] = follower
                self._leaders[id(follower)] = id(leader)

    def _detach(self, follower: RunTask) -> bool:
        leader = self._leaders.pop(id(follower), None)
        if leader is None:
            return False
        del self._followers[leader]
        return True

    def withdraw(self, tasks: list[RunTask]) -> list[RunTask]:
        """Take tasks out of the queue; return those that had not started."""
        with self._lock:
            # One by one: a task may be asked back twice, as stolen and as cancelled.
            taken = []
            for task in tasks:
                if self._queued.get(task.key) is task:
                    del self._queued[task.key]
                    taken.append(task)
                elif self._detach(task):
                    taken.append(task)
                else:
                    self._taken.pop(id(task), None)
            if not self._queued:
                self._fifo.clear()
                self._heap.clear()
        return taken

    def take(self) -> list[Outcome]:
        """Return the outcomes since the last call."""
        # First the flag, then the outcomes: one that comes in between wakes the loop once more,
        # none is left behind.
        self._woken = False
        outcomes = self._outcomes
        taken = [outcomes.popleft() for _ in range(len(outcomes))]
        self.ended += len(taken)
        return taken

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
        queued, fifo, heap = self._queued, self._fifo, self._heap
        with self._lock:
            while True:
                if self._closed:
                    return None
                while (fifo or heap) and not self._paused:
                    in_line = fifo and not (heap and heap[0][0] < fifo[0].rank)
                    task = fifo.popleft() if in_line else heappop(heap)[2]
                    if queued.get(task.key) is task:
                        del queued[task.key]
                        return task
                self._idle += 1
                self._more.wait()
                self._idle -= 1

    def _next_in_line(self, outcome: Outcome) -> tuple[RunTask, dict[str, Held]] | None:
        """Return what follows the task of this outcome, to go on with, and the result that it waits for."""
        leader, message, value = outcome
        if type(message) is not TaskFinished:
            return None
        with self._lock:
            follower = self._followers.get(id(leader))
            if follower is None or self._paused or self._closed or self._is_behind(follower.rank):
                return None  # it will be pushed
            self._detach(follower)
            self._taken[id(follower)] = follower
        return follower, {leader.key: Held(value, message.nbytes)}

    def _is_behind(self, rank: int) -> bool:
        fifo, heap = self._fifo, self._heap
        return bool((fifo and fifo[0].rank < rank) or (heap and heap[0][0] < rank))

    def _work(self) -> None:
        run, outcomes = self._run, self._outcomes
        while (task := self._next()) is not None:
            outcome, found = run(task), None
            while True:
                outcomes.append(outcome)
                if not self._woken:
                    self._woken = True
                    self._wake()
                if not self._followers or (found := self._next_in_line(outcome)) is None:
                    break
                outcome = run(*found)
            del task, outcome, found  # or an idle thread would keep the last result
