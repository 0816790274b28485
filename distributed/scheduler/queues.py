"""Queues of tasks that could run, by rank.

Most tasks come in the order in which they shall run: those pass through a plain queue, in constant
time.  Only what comes out of order goes through a heap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

__all__ = ["Ranked", "ReadyQueue"]


class Ranked(Protocol):
    """What a queue needs to know of a task."""

    @property
    def rank(self) -> int:
        """Lower runs first."""

    @property
    def state(self) -> int:
        """Where it is in its life."""


T = TypeVar("T", bound=Ranked)

_SLACK = 64


class ReadyQueue(Generic[T]):
    """Tasks in the state ``state``, lowest rank first, first come first among equals.

    A task leaves by ``pop``, or by being put into another state and ``discard`` being called: its entry
    stays and is passed over later.  ``live`` counts the others.
    """

    __slots__ = ("_count", "_fifo", "_heap", "live", "state")

    def __init__(self, state: int) -> None:
        self.state = state
        self.live = 0
        self._fifo: deque[T] = deque()
        self._heap: list[tuple[int, int, T]] = []
        self._count = 0

    def push(self, task: T) -> None:
        """Add a task; it has to be in the queue's state."""
        self.live += 1
        fifo = self._fifo
        if not fifo or task.rank >= fifo[-1].rank:
            fifo.append(task)
        else:
            self._count += 1
            heappush(self._heap, (task.rank, self._count, task))

    def extend(self, tasks: Sequence[T]) -> None:
        """Add tasks that are in ascending order of rank."""
        if not tasks:
            return
        fifo = self._fifo
        if not fifo or tasks[0].rank >= fifo[-1].rank:
            fifo.extend(tasks)
            self.live += len(tasks)
        else:
            for task in tasks:
                self.push(task)

    def pop(self) -> T:
        """Take out the first task; the caller puts it into another state.  Raises IndexError if there is none."""
        fifo, heap, state = self._fifo, self._heap, self.state
        while True:
            if heap and (not fifo or heap[0][0] < fifo[0].rank):
                task = heappop(heap)[2]
            else:
                task = fifo.popleft()
            if task.state == state:
                self.live -= 1
                return task

    def head(self) -> T | None:
        """Return the first task without taking it out; None if there is none."""
        if not self.live:
            return None
        fifo, heap, state = self._fifo, self._heap, self.state
        while True:
            if heap and (not fifo or heap[0][0] < fifo[0].rank):
                if heap[0][2].state == state:
                    return heap[0][2]
                heappop(heap)
            else:
                if fifo[0].state == state:
                    return fifo[0]
                fifo.popleft()

    def discard(self) -> None:
        """One of the tasks here has been put into another state."""
        self.live -= 1
        if len(self._fifo) + len(self._heap) > 2 * self.live + _SLACK:
            self._compact()

    def _compact(self) -> None:
        # Also called while the discarded task still has its old state: then it stays until the next time.
        state = self.state
        self._fifo = deque(task for task in self._fifo if task.state == state)
        self._heap = [entry for entry in self._heap if entry[2].state == state]
        heapify(self._heap)

    def entries(self) -> list[T]:
        """Every entry, also the dead ones, in no particular order.  For checks."""
        return [*self._fifo, *(entry[2] for entry in self._heap)]
