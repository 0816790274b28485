"""What a nanny is to do: the output of :class:`~distributed.nanny.machine.NannyMachine`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Action", "EndNanny", "KillWorker", "ReportExit", "SpawnWorker", "StopWorker", "WakeAt"]


@dataclass(frozen=True, slots=True)
class SpawnWorker:
    """Start a worker process."""


@dataclass(frozen=True, slots=True)
class StopWorker:
    """Ask the worker process to say goodbye and end."""


@dataclass(frozen=True, slots=True)
class KillWorker:
    """End the worker process at once, for this ``reason``."""

    reason: str


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Come back with TimePassed at ``when_s``."""

    when_s: float


@dataclass(frozen=True, slots=True)
class ReportExit:
    """Tell the scheduler how the worker at ``address`` ended."""

    address: str
    reason: str
    expected: bool


@dataclass(frozen=True, slots=True)
class EndNanny:
    """There is nothing left to watch: end with ``exit_code``."""

    reason: str
    exit_code: int


Action: TypeAlias = SpawnWorker | StopWorker | KillWorker | WakeAt | ReportExit | EndNanny
