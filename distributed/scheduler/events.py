"""What happens to the scheduler: the events that its machine handles.

``token`` in the control events is the caller's own number: the machine's ``Answer`` carries it back.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from distributed.messages import Message

__all__ = [
    "ClientJoined",
    "ClientLeft",
    "ClientMessages",
    "DataMissing",
    "Event",
    "RebalanceWanted",
    "ReplicateWanted",
    "RestartWanted",
    "RetireWanted",
    "WorkerJoined",
    "WorkerLeft",
    "WorkerMessages",
]


class ClientJoined(msgspec.Struct):
    """A client opened its stream; ``client`` is its id."""

    client: str


class ClientLeft(msgspec.Struct):
    """A client's stream ended: it wants nothing any more."""

    client: str


class ClientMessages(msgspec.Struct):
    """A batch from a client, in the order it was sent.  Of an unknown client it is ignored."""

    client: str
    messages: list[Message]


class WorkerJoined(msgspec.Struct):
    """A worker registered.

    ``resources``: name -> amount.  ``memory_limit`` in bytes, None for none.  ``data``: key -> bytes of
    what it still holds from before it lost its connection.  A worker that is known at this address
    already is taken to have died unexpectedly.
    """

    address: str
    name: str = ""
    nthreads: int = 1
    resources: dict[str, float] = {}
    host: str = ""
    memory_limit: int | None = None
    nanny: str | None = None
    data: dict[str, int] = {}


class WorkerMessages(msgspec.Struct):
    """A batch from a worker, in the order it was sent.  Of an unknown worker it is ignored."""

    address: str
    messages: list[Message]


class WorkerLeft(msgspec.Struct):
    """A worker is gone.

    ``reason`` is one line that names the worker and how it ended; ``expected``: it said goodbye or was
    told to go, so the tasks that it was running are not to blame.
    """

    address: str
    reason: str
    expected: bool


class DataMissing(msgspec.Struct):
    """Somebody asked these workers for data that they did not have: key -> addresses."""

    missing: dict[str, list[str]]


class ReplicateWanted(msgspec.Struct):
    """Have each key on ``n`` of ``workers`` (addresses; None: all).  ``n`` None: on every one of them.

    Answer: key -> addresses that hold it in the end; none for a key that is not in memory.
    """

    token: int
    keys: list[str]
    n: int | None = None
    workers: list[str] | None = None


class RebalanceWanted(msgspec.Struct):
    """Even out the bytes held by ``workers`` (addresses; None: all) by moving ``keys`` (None: any).

    Answer: the number of keys that moved.
    """

    token: int
    keys: list[str] | None = None
    workers: list[str] | None = None


class RetireWanted(msgspec.Struct):
    """These workers are to go: give them nothing new, and move what only they hold to the others.

    Answer: the number of keys that moved.  Their leaving is expected from now on.
    """

    token: int
    workers: list[str]


class RestartWanted(msgspec.Struct):
    """Cancel all tasks and forget all data.  Answer: the number of tasks there were."""

    token: int


Event: TypeAlias = (
    ClientJoined
    | ClientLeft
    | ClientMessages
    | WorkerJoined
    | WorkerMessages
    | WorkerLeft
    | DataMissing
    | ReplicateWanted
    | RebalanceWanted
    | RetireWanted
    | RestartWanted
)
