"""A machine on the test's desk: short words for events, and what it said to whom."""

from __future__ import annotations

from typing import Any, TypeVar

from distributed.messages import (
    ErrorInfo,
    RunTask,
    SubmitTasks,
    TaskErred,
    TaskFinished,
    TaskOptions,
    TaskSpec,
)
from distributed.scheduler import events
from distributed.scheduler.actions import Answer, ToClient, ToWorker
from distributed.scheduler.invariants import validate
from distributed.scheduler.machine import SchedulerMachine
from distributed.scheduler.state import State, Task, Worker
from distributed.scheduler.states import STATE_NAMES
from tests.blocks import apart

M = TypeVar("M")


def spec(key: str, *dependencies: str, function: str = "f", **options: Any) -> TaskSpec:
    """A task's specification; keyword arguments are its options."""
    return TaskSpec(key, function, b"args", list(dependencies), TaskOptions(**options) if options else None)


class Desk:
    """``said``: peer -> all messages to it, in order; ``answers``: token -> result."""

    def __init__(self, *workers: str, clients: str = "c", nthreads: int = 1, **settings: Any) -> None:
        self.machine = SchedulerMachine(**settings)
        self.said: dict[str, list[Any]] = {}
        self.answers: dict[int, Any] = {}
        for client in clients:
            self.handle(events.ClientJoined(client))
        for worker in workers:
            self.join(worker, nthreads=nthreads)

    @property
    def state(self) -> State:
        return self.machine.state

    def task(self, key: str) -> Task:
        return self.state.tasks[key]

    def worker(self, address: str) -> Worker:
        return self.state.workers[address]

    def kind(self, key: str) -> str:
        """The state of a task by name; ``unknown`` if it is."""
        task = self.state.tasks.get(key)
        return STATE_NAMES[task.state] if task is not None else "unknown"

    def handle(self, event: events.Event) -> None:
        for action in self.machine.handle(event):
            if isinstance(action, Answer):
                self.answers[action.token] = action.result
            else:
                peer = action.address if isinstance(action, ToWorker) else action.client
                assert isinstance(action, ToWorker | ToClient)
                self.said.setdefault(peer, []).extend(one for message in action.messages for one in apart(message))
        validate(self.state)

    def heard(self, peer: str, kind: type[M] | None = None) -> list[M]:
        """What the peer was told since the last look, of one type; all of it is struck off."""
        messages = self.said.pop(peer, [])
        return [message for message in messages if kind is None or type(message) is kind]

    # -- events -------------------------------------------------------------------------------------------------------

    def join(self, address: str, **info: Any) -> None:
        self.handle(events.WorkerJoined(address, **info))

    def leave(self, address: str, reason: str = "", expected: bool = False) -> None:
        self.handle(events.WorkerLeft(address, reason or f"{address} died", expected))

    def client(self, *messages: Any, name: str = "c") -> None:
        self.handle(events.ClientMessages(name, list(messages)))

    def report(self, address: str, *messages: Any) -> None:
        self.handle(events.WorkerMessages(address, list(messages)))

    def submit(self, *specs: TaskSpec | str, name: str = "c") -> None:
        tasks = [spec(item) if isinstance(item, str) else item for item in specs]
        functions = {task.function: b"code of " + task.function.encode() for task in tasks}
        self.client(SubmitTasks(tasks, functions), name=name)

    # -- what workers do ----------------------------------------------------------------------------------------------

    def place(self, key: str) -> str:
        """Where the task runs."""
        worker = self.task(key).place
        assert worker is not None, f"{key} is {self.kind(key)}"
        return worker.address

    def finished(self, key: str, nbytes: int = 8, duration_s: float = 0.5) -> TaskFinished:
        """The report of its current run's end."""
        return TaskFinished(key, self.task(key).run, nbytes, duration_s, "int", b"7")

    def finish(self, *keys: str, nbytes: int = 8, duration_s: float = 0.5) -> None:
        for key in keys:
            self.report(self.place(key), self.finished(key, nbytes, duration_s))

    def err(self, key: str) -> None:
        info = ErrorInfo("ValueError", f"from {key}")
        self.report(self.place(key), TaskErred(key, self.task(key).run, info))

    def runs(self, address: str) -> list[str]:
        """Keys of the tasks that the worker was told to run since the last look."""
        return [message.key for message in self.heard(address, RunTask)]

    def at(self, address: str) -> list[str]:
        """Keys of the tasks that the worker has."""
        return [task.key for task in self.worker(address).processing]
