"""What happens to a launcher: input of ``scaling.py``.  ``now_s`` is seconds of a clock that never goes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from launchers.jobs import ElementId, JobArray, JobStatus

__all__ = [
    "CancelFailed",
    "Cancelled",
    "Event",
    "FindFailed",
    "Found",
    "Inquired",
    "PollFailed",
    "Polled",
    "StopWanted",
    "SubmitFailed",
    "Submitted",
    "TargetChanged",
    "Tick",
    "WorkerCame",
    "WorkerLeft",
]


@dataclass(frozen=True)
class Tick:
    """Time has passed."""

    now_s: float


@dataclass(frozen=True)
class TargetChanged:
    """``jobs`` jobs are wanted from now on."""

    jobs: int
    now_s: float


@dataclass(frozen=True)
class Submitted:
    """The batch system took the elements ``first`` to ``last``."""

    first: int
    last: int
    array: JobArray
    now_s: float


@dataclass(frozen=True)
class SubmitFailed:
    """It did not.  ``transient``: worth trying again; ``uncertain``: perhaps it did all the same."""

    first: int
    last: int
    text: str
    transient: bool
    uncertain: bool
    now_s: float


@dataclass(frozen=True)
class Found:
    """All arrays of this cluster that the batch system knows."""

    arrays: Sequence[JobArray]
    now_s: float


@dataclass(frozen=True)
class FindFailed:
    """The batch system did not say which arrays it knows."""

    text: str
    now_s: float


@dataclass(frozen=True)
class Polled:
    """The states of the elements asked about; one that is missing is gone."""

    statuses: Mapping[ElementId, JobStatus]
    now_s: float


@dataclass(frozen=True)
class PollFailed:
    """The batch system did not tell the states."""

    text: str
    now_s: float


@dataclass(frozen=True)
class Inquired:
    """How elements ended that had left the queue: index -> status."""

    statuses: Mapping[int, JobStatus]
    now_s: float


@dataclass(frozen=True)
class Cancelled:
    """The batch system took the order to cancel."""

    now_s: float


@dataclass(frozen=True)
class CancelFailed:
    """It did not."""

    text: str
    now_s: float


@dataclass(frozen=True)
class WorkerCame:
    """A worker registered at the scheduler; ``job_id``: what it says its job is, or ""."""

    name: str
    now_s: float
    job_id: str = ""


@dataclass(frozen=True)
class WorkerLeft:
    """A worker is gone."""

    name: str
    now_s: float


@dataclass(frozen=True)
class StopWanted:
    """Cancel everything.  ``at_once``: do not wait until the batch system has carried it out."""

    at_once: bool
    now_s: float


Event: TypeAlias = (
    Tick
    | TargetChanged
    | Submitted
    | SubmitFailed
    | Found
    | FindFailed
    | Polled
    | PollFailed
    | Inquired
    | Cancelled
    | CancelFailed
    | WorkerCame
    | WorkerLeft
    | StopWanted
)
