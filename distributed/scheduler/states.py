"""The states of a task in the scheduler.

Plain numbers, because they are compared a million times a second.  The order carries meaning: from
``WAITING`` to ``PROCESSING`` a task is *active*, somebody wants its result and it has none yet; up to there it has not
ended.
"""

from __future__ import annotations

__all__ = [
    "AHEAD",
    "ERRED",
    "FORGOTTEN",
    "MEMORY",
    "PROCESSING",
    "QUEUED",
    "RELEASED",
    "STATE_NAMES",
    "SUSPECT",
    "WAITING",
    "is_active",
]

RELEASED = 0
"""Known, but nobody needs its result now; kept because a result that still lives was made from it."""
WAITING = 1
"""Waits for dependencies."""
QUEUED = 2
"""Could run; waits for a worker."""
SUSPECT = 3
"""Could run, but was at a worker when that died: waits for a worker of its own."""
AHEAD = 4
"""Sent ahead to the worker that computes its last missing dependency: it starts there as soon as that exists."""
PROCESSING = 5
"""Handed to a worker, and nothing that it needs is missing."""
MEMORY = 6
"""Its result is on one or more workers."""
ERRED = 7
"""Failed, or a task it depends on did, or it was data that is lost."""
FORGOTTEN = 8
"""Not known any more."""

STATE_NAMES = (
    "released",
    "waiting",
    "queued",
    "suspect",
    "ahead",
    "processing",
    "memory",
    "erred",
    "forgotten",
)


def is_active(state: int) -> bool:
    """Whether a task in this state is wanted and has no result yet."""
    return WAITING <= state <= PROCESSING
