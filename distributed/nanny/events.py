"""What happens to a nanny: the input of :class:`~distributed.nanny.machine.NannyMachine`.

``now_s`` is a monotonic clock in seconds; the machine itself has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "Event",
    "MemoryMeasured",
    "RestartAsked",
    "StartAsked",
    "StopAsked",
    "TimePassed",
    "WorkerExited",
    "WorkerListened",
    "WorkerRegistered",
]


@dataclass(frozen=True, slots=True)
class StartAsked:
    """Somebody wants the worker to run."""

    now_s: float


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Somebody wants the worker to end and stay away; it has ``grace_s`` seconds for that."""

    now_s: float
    grace_s: float


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """Somebody wants a fresh worker process; the old one has ``grace_s`` seconds to end."""

    now_s: float
    grace_s: float


@dataclass(frozen=True, slots=True)
class WorkerListened:
    """The worker process is up and listens at ``address``."""

    address: str


@dataclass(frozen=True, slots=True)
class WorkerRegistered:
    """The scheduler knows the worker."""

    now_s: float


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The worker process is gone: ``exit_code`` (negative: the signal), and ``how`` it ended in
    words.

    ``announced``: whether the worker said that it ends; a task may end the process with any code.
    """

    now_s: float
    exit_code: int
    how: str
    announced: bool = True


@dataclass(frozen=True, slots=True)
class MemoryMeasured:
    """The worker process holds ``used`` bytes of memory."""

    used: int


@dataclass(frozen=True, slots=True)
class TimePassed:
    """It is ``now_s``: what was to be done by then is due."""

    now_s: float


Event: TypeAlias = (
    StartAsked
    | StopAsked
    | RestartAsked
    | WorkerListened
    | WorkerRegistered
    | WorkerExited
    | MemoryMeasured
    | TimePassed
)
