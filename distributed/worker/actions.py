"""What a worker does: the actions that :class:`~distributed.worker.machine.WorkerMachine` asks for,
in order.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from distributed.messages import Message, Request, RunTask
from distributed.payloads import Payload

__all__ = [
    "Action",
    "Answer",
    "Drop",
    "Execute",
    "Fetch",
    "Follow",
    "LearnFunctions",
    "Leave",
    "Pause",
    "Resume",
    "SendScheduler",
    "Withdraw",
]


class LearnFunctions(msgspec.Struct):
    """Remember these functions: id -> payload."""

    functions: dict[str, Payload]


class Drop(msgspec.Struct):
    """These keys are held no more."""

    keys: list[str]


class Execute(msgspec.Struct):
    """Give these tasks to the executor; it takes them by rank."""

    tasks: list[RunTask]


class Follow(msgspec.Struct):
    """Pairs of a task that the executor has and one that waits for nothing but its result.

    The thread that ends the first one well may go on with the second; each second one comes by ``Execute`` or by
    ``Withdraw``, too, when the first one's end is known.
    """

    pairs: list[tuple[RunTask, RunTask]]


class Withdraw(msgspec.Struct):
    """Take these tasks back from the executor unless they started; answer with ``Withdrawn``."""

    tasks: list[RunTask]


class Fetch(msgspec.Struct):
    """Ask the peer at ``address`` for these keys, about ``nbytes``; answer with ``Fetched`` or
    ``PeerFailed``.
    """

    address: str
    keys: list[str]
    nbytes: int


class Pause(msgspec.Struct):
    """Start no task: ``memory`` bytes are resident, close to the limit."""

    memory: int


class Resume(msgspec.Struct):
    """Start tasks again."""

    memory: int


class SendScheduler(msgspec.Struct):
    """Send these messages to the scheduler."""

    messages: list[Message]


class Answer(msgspec.Struct):
    """Carry out an operation that the scheduler asked for on its own connection, and reply
    there.
    """

    request: Request


class Beat(msgspec.Struct):
    """Have a heartbeat sent every ``period_s`` seconds."""

    period_s: float


class Leave(msgspec.Struct):
    """The scheduler asks this worker to go: close with this reason."""

    reason: str


Action: TypeAlias = (
    LearnFunctions | Drop | Execute | Follow | Withdraw | Fetch | Pause | Resume | SendScheduler | Answer | Beat | Leave
)
