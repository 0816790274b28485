"""A worker as the scheduler sees it, for random lives: it keeps the protocol and takes its time.

A task's ``args`` say what happens when it runs: ``b"VERSION BEHAVIOUR"`` with the behaviours ``fine``, ``raise``,
``flaky`` (raises every other time) and ``poison`` (ends the worker).
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from distributed.messages import (
    AddFunction,
    BlockFinished,
    CancelTask,
    DataAdded,
    DropData,
    ErrorInfo,
    FetchData,
    FetchFailed,
    Heartbeat,
    RunTask,
    StealTask,
    TaskErred,
    TaskFinished,
    TaskMissingData,
    TaskReturned,
)

__all__ = ["PoisonedError", "SimWorker", "value_of"]


class PoisonedError(Exception):
    """A task ended its worker."""


def value_of(key: str, args: bytes, dependencies: dict[str, Any]) -> tuple[Any, ...]:
    """The one right value of a task."""
    return (key, args.split()[0], tuple(sorted(dependencies.items())))


class SimWorker:
    """Its network is ``say``; ``peers`` are all living workers by address, to fetch from."""

    def __init__(
        self,
        address: str,
        name: str,
        nthreads: int,
        rng: random.Random,
        peers: dict[str, SimWorker],
        resources: dict[str, float],
    ) -> None:
        self.address = address
        self.name = name
        self.nthreads = nthreads
        self.resources = resources
        self.rng = rng
        self.peers = peers
        self.paused = False
        self.reach = 0.9  # how likely it can connect to a peer
        self.forget_scheduler()
        self.data: dict[str, Any] = {}
        self.made: dict[str, int] = {}
        self.tries: dict[str, int] = {}
        self.says: list[Any] = []

    def forget_scheduler(self) -> None:
        """The connection is lost: nobody waits for the runs."""
        self.functions: set[str] = set()
        self.waiting: dict[str, RunTask] = {}
        self.running: dict[str, RunTask] = {}
        self.fetches: dict[str, list[str]] = {}

    def hear(self, message: Any) -> None:
        """Take a message from the scheduler."""
        getattr(self, f"_hear_{type(message).__name__}")(message)

    def _hear_AddFunction(self, message: AddFunction) -> None:  # noqa: N802
        self.functions.add(message.function)

    def _hear_RunTask(self, message: RunTask) -> None:  # noqa: N802
        assert message.function in self.functions, "the function was never sent"
        known = self.waiting.get(message.key) or self.running.get(message.key)
        if known is not None:
            if message.run <= known.run:
                return
            self.waiting.pop(message.key, None)
            self.running.pop(message.key, None)
        self.waiting[message.key] = message

    def _hear_StealTask(self, message: StealTask) -> None:  # noqa: N802
        task = self.waiting.get(message.key)
        if task is not None and task.run == message.run:
            del self.waiting[message.key]
            self.says.append(TaskReturned(message.key, message.run))

    def _hear_CancelTask(self, message: CancelTask) -> None:  # noqa: N802
        for tasks in (self.waiting, self.running):
            task = tasks.get(message.key)
            if task is not None and task.run == message.run:
                del tasks[message.key]
                return
        if self.made.get(message.key) == message.run:
            del self.made[message.key]
            del self.data[message.key]

    def _hear_DropData(self, message: DropData) -> None:  # noqa: N802
        for key in message.keys:
            self.data.pop(key, None)
            self.made.pop(key, None)
            self.fetches.pop(key, None)

    def _hear_FetchData(self, message: FetchData) -> None:  # noqa: N802
        self.fetches.update(message.who_has)

    def speak(self) -> list[Any]:
        """What it says; results in a row perhaps as a block."""
        said: list[Any] = []
        for message in self.says:
            last = said[-1] if said else None
            if type(message) is TaskFinished and type(last) is BlockFinished and self.rng.random() < 0.8:
                last.duration_s += message.duration_s
                last.keys.append(message.key)
                last.runs.append(message.run)
                last.nbytes.append(message.nbytes)
                last.results.append(message.result)
            elif type(message) is TaskFinished and self.rng.random() < 0.5:
                key, run, nbytes, duration_s, type_name, result = msgspec.structs.astuple(message)
                said.append(BlockFinished(type_name, duration_s, [key], [run], [nbytes], [result]))
            else:
                said.append(message)
        return said

    # -- doing ------------------------------------------------------------------------------------------------------

    def is_busy(self) -> bool:
        """Whether there is anything to do without hearing more."""
        able = self._startable() and not self.paused and len(self.running) < self.nthreads
        return bool(self.running or self.fetches or able)

    def _startable(self) -> list[str]:
        """Tasks that do not wait for one that is to run here before them."""
        coming = {*self.waiting, *self.running} - self.data.keys()
        return [key for key, task in self.waiting.items() if coming.isdisjoint(task.dependencies)]

    def step(self) -> None:
        """Do one thing.  Raises PoisonedError if that ended this worker."""
        choices = [self._fetch] * bool(self.fetches) + [self._finish] * 2 * bool(self.running)
        if self._startable() and not self.paused and len(self.running) < self.nthreads:
            choices += [self._start] * 2
        if choices:
            self.rng.choice(choices)()

    def beat(self, paused: bool) -> None:
        """Send a heartbeat."""
        self.paused = paused
        self.says.append(Heartbeat(len(self.running), 10**6, paused))

    def _get(self, key: str, holders: list[str]) -> bool:
        for holder in holders:
            peer = self.peers.get(holder)
            if peer is self or self.rng.random() > self.reach:
                continue
            if peer is not None and key in peer.data:
                self.data[key] = peer.data[key]
                self.made.pop(key, None)
                self.says.append(DataAdded({key: 8}))
                return True
        return False

    def _fetch(self) -> None:
        key = self.rng.choice(list(self.fetches))
        holders = self.fetches.pop(key)
        if key in self.data:
            self.says.append(DataAdded({key: 8}))
        elif not self._get(key, holders):
            self.says.append(FetchFailed({key: holders}))

    def _start(self) -> None:
        key = min(self._startable(), key=lambda key: (self.waiting[key].rank, self.rng.random()))
        task = self.waiting[key]
        missing = {}
        for needed in task.dependencies:
            # Where a thing lies is told once for all tasks that need it.
            told = (other.who_has.get(needed) for other in (task, *self.waiting.values()))
            holders = next(filter(None, told), [])
            if needed not in self.data and not self._get(needed, holders):
                missing[needed] = holders or [self.address]
        del self.waiting[key]
        if missing:
            self.says.append(TaskMissingData(key, task.run, missing))
        else:
            self.running[key] = task

    def _finish(self) -> None:
        key = self.rng.choice(list(self.running))
        task = self.running.pop(key)
        behaviour = task.args.split()[1].decode()
        self.tries[key] = tries = self.tries.get(key, 0) + 1
        if behaviour == "poison":
            raise PoisonedError(key)
        if behaviour == "raise" or (behaviour == "flaky" and tries % 2):
            self.says.append(TaskErred(key, task.run, ErrorInfo("ValueError", key)))
            return
        lost = {d: [self.address] for d in task.dependencies if d not in self.data}
        if lost:
            self.says.append(TaskMissingData(key, task.run, lost))
            return
        self.data[key] = value_of(key, task.args, {d: self.data[d] for d in task.dependencies})
        self.made[key] = task.run
        inline = b"small" if self.rng.random() < 0.5 else None
        duration_s = self.rng.choice((1e-5, 1e-3, 1.0))
        self.says.append(TaskFinished(key, task.run, 8, duration_s, "tuple", inline))
