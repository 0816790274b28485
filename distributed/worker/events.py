"""What happens to a worker: the events that :class:`~distributed.worker.machine.WorkerMachine`
handles.

Values (results, copies) pass through the machine unseen: it only decides which of them are kept.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from distributed.messages import Message, RunTask, TaskErred, TaskFinished, TaskMissingData

__all__ = [
    "Closing",
    "DataDeleted",
    "DataReceived",
    "Event",
    "Executed",
    "Fetched",
    "MemoryMeasured",
    "Outcome",
    "PeerFailed",
    "SchedulerChanged",
    "SchedulerLost",
    "SchedulerMessages",
    "Withdrawn",
]

Outcome: TypeAlias = tuple[RunTask, TaskFinished | TaskErred | TaskMissingData, Any]
"""How a task ended in a thread: the very object that was to be executed, the message that says how
it ended, and the value if it finished."""


class SchedulerMessages(msgspec.Struct):
    """A batch came from the scheduler."""

    messages: list[Message]


class Executed(msgspec.Struct):
    """Tasks ended in the executor's threads."""

    outcomes: list[Outcome]


class Withdrawn(msgspec.Struct):
    """These tasks were taken back from the executor before they started."""

    tasks: list[RunTask]


class Fetched(msgspec.Struct):
    """The peer at ``address`` answered: ``values`` and their ``sizes`` in bytes; what it did not
    have is absent.
    """

    address: str
    sizes: dict[str, int]
    values: dict[str, Any]


class PeerFailed(msgspec.Struct):
    """The peer at ``address`` could not be reached, or broke off in the middle of a fetch."""

    address: str


class DataReceived(msgspec.Struct):
    """Somebody put data here (scatter): key -> value, key -> bytes.  Who did so tells the
    scheduler.
    """

    sizes: dict[str, int]
    values: dict[str, Any]


class DataDeleted(msgspec.Struct):
    """Somebody asked to drop these keys, not the scheduler, which has to be told."""

    keys: list[str]


class MemoryMeasured(msgspec.Struct):
    """Resident bytes of this process, and how many threads are in user code; ``due``: it is time
    for a heartbeat, whatever they are.
    """

    memory: int
    executing: int
    due: bool = True


class SchedulerLost(msgspec.Struct):
    """The connection to the scheduler is gone: nobody waits for our runs any more; the data stays
    for a rejoin.
    """


class SchedulerChanged(msgspec.Struct):
    """Another scheduler answers now: what we hold means nothing to it."""


class Closing(msgspec.Struct):
    """The worker leaves on purpose."""

    reason: str


Event: TypeAlias = (
    SchedulerMessages
    | Executed
    | Withdrawn
    | Fetched
    | PeerFailed
    | DataReceived
    | DataDeleted
    | MemoryMeasured
    | SchedulerLost
    | SchedulerChanged
    | Closing
)
