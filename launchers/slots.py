"""Slots: the places of a cluster, one per array index, each with at most one job at a time."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from launchers.jobs import ElementId, JobState, JobStatus

__all__ = ["Phase", "Progress", "Slot", "contiguous", "summarise"]

LONG_LIFE_S = 600.0
LONGEST_PAUSE_S = 300.0


class Phase(enum.Enum):
    """Where the job of a slot is, as far as we know."""

    WANTED = "wanted"  # to be submitted, perhaps after a pause
    SUBMITTING = "submitting"
    PENDING = "pending"
    RUNNING = "running"
    VANISHED = "vanished"  # left the queue, and we do not know yet how
    WITHDRAWN = "withdrawn"  # cancelled by somebody else: not submitted again


@dataclass
class Slot:
    """One place.

    ``element`` and ``array`` are ids of its job; ``workers`` the names registered now; ``registered``: a worker of this
    job has registered; ``leaving``: we cancel the job, ``told``: the batch system knows that; ``gone_polls``: how often
    in a row the job was not listed.
    """

    index: int
    phase: Phase = Phase.WANTED
    element: ElementId = ""
    array: str = ""
    status: JobStatus = field(default_factory=lambda: JobStatus(JobState.PENDING))
    workers: set[str] = field(default_factory=set)
    registered: bool = False
    leaving: bool = False
    told: bool = False
    worried: bool = False
    gone_polls: int = 0
    running_since_s: float = 0.0
    not_before_s: float = 0.0
    pause_s: float = 0.0

    @property
    def has_job(self) -> bool:
        """Whether the batch system has, or may have, a job of this slot."""
        return self.phase in (Phase.PENDING, Phase.RUNNING, Phase.VANISHED)

    def take(self, element: ElementId, array: str, now_s: float) -> None:
        """A new job was submitted; its worker may have registered before we were told."""
        self.phase, self.element, self.array = Phase.PENDING, element, array
        self.status = JobStatus(JobState.PENDING)
        self.told = self.worried = False
        self.gone_polls = 0
        self.running_since_s = 0.0
        self.registered = bool(self.workers)
        if self.registered:
            self.run(now_s)

    def run(self, now_s: float) -> None:
        """The job runs."""
        if self.phase is not Phase.RUNNING:
            self.phase, self.running_since_s = Phase.RUNNING, now_s

    def release(self, now_s: float) -> None:
        """The job has ended; the next one may come after a pause that grows while the jobs live short."""
        lived_s = now_s - self.running_since_s if self.running_since_s else 0.0
        if self.registered and lived_s > LONG_LIFE_S:
            self.pause_s = 0.0
        self.pause_s = min(LONGEST_PAUSE_S, self.pause_s * 2 or 1.0)
        self.phase, self.not_before_s = Phase.WANTED, now_s + self.pause_s
        self.element = self.array = ""
        self.workers.clear()


@dataclass(frozen=True)
class Progress:
    """How far a cluster is: numbers of jobs, but ``wanted``, ``registered`` and ``adopted`` count workers.

    ``adopted`` are those of jobs that others submitted; ``reason``: why most of the pending jobs wait; ``problem``:
    what is wrong, or "".
    """

    wanted: int = 0
    jobs: int = 0
    pending: int = 0
    running: int = 0
    registered: int = 0
    adopted: int = 0
    reason: str = ""
    problem: str = ""


def summarise(slots: Iterable[Slot], wanted: int, problem: str, adopted: int = 0) -> Progress:
    """Count the slots."""
    slots = list(slots)
    pending = [slot for slot in slots if slot.phase is Phase.PENDING]
    reasons = Counter(_reason(slot.status) for slot in pending if slot.status.reason or slot.status.explanation)
    return Progress(
        wanted=wanted,
        jobs=sum(slot.has_job for slot in slots),
        pending=len(pending),
        running=sum(slot.phase is Phase.RUNNING for slot in slots),
        registered=sum(len(slot.workers) for slot in slots),
        adopted=adopted,
        reason=reasons.most_common(1)[0][0] if reasons else "",
        problem=problem,
    )


def _reason(status: JobStatus) -> str:
    return f"{status.reason}: {status.explanation}" if status.explanation else status.reason


def contiguous(indices: Sequence[int]) -> tuple[int, int]:
    """Return first and last of the run that the smallest index begins."""
    ordered = sorted(indices)
    last = ordered[0]
    for index in ordered[1:]:
        if index != last + 1:
            break
        last = index
    return ordered[0], last
