"""What was agreed between the scheduler and its workers, kept by a third party who sees every message."""

from __future__ import annotations

from typing import Any

from distributed.messages import (
    CancelTask,
    Heartbeat,
    RunTask,
    TaskErred,
    TaskFinished,
    TaskMissingData,
    TaskReturned,
)
from distributed.scheduler.state import State
from tests.blocks import apart

__all__ = ["Books"]

ENDS = TaskFinished | TaskErred | TaskMissingData | TaskReturned


class Books:
    """``runs``: address -> the runs, (key, run), that the worker owes an answer to; ``paused``: who said so."""

    def __init__(self) -> None:
        self.runs: dict[str, set[tuple[str, int]]] = {}
        self.paused: set[str] = set()
        self.given: dict[int, str] = {}
        self.last: dict[str, int] = {}

    def forget(self, address: str) -> None:
        """The worker left, or another one registered: nothing was agreed with it.

        Call it before the messages that the event causes are told.
        """
        self.runs[address] = set()
        self.paused.discard(address)

    def say(self, address: str, messages: list[Any]) -> None:
        """The scheduler says this to a worker."""
        runs = self.runs.setdefault(address, set())
        for message in (one for said in messages for one in apart(said)):
            if isinstance(message, RunTask):
                assert address not in self.paused, f"{message.key} was sent to a paused worker"
                assert message.run > self.last.get(message.key, 0), f"{message.key}: an old run"
                assert message.run not in self.given, f"{message.key}: the run of another"
                self.last[message.key] = message.run
                self.given[message.run] = message.key
                runs.add((message.key, message.run))
            elif isinstance(message, CancelTask):
                runs.discard((message.key, message.run))

    def hear(self, address: str, messages: list[Any]) -> None:
        """The scheduler hears this from a worker."""
        runs = self.runs.setdefault(address, set())
        for message in (one for said in messages for one in apart(said)):
            if isinstance(message, ENDS):
                runs.discard((message.key, message.run))
            elif isinstance(message, Heartbeat):
                (self.paused.add if message.paused else self.paused.discard)(address)

    def check(self, state: State) -> None:
        """The scheduler's own view is the same."""
        for worker in state.workers.values():
            processing = {(task.key, task.run) for task in (*worker.processing, *worker.ahead)}
            agreed = self.runs.get(worker.address, set())
            assert processing == agreed, f"{worker.address}: {processing} and {agreed} differ"
