"""What the scheduler's machine asks its daemon to do, in order.

Messages in actions are shared and must not be changed by who sends them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from distributed.messages import ErrorInfo, Message

__all__ = ["Action", "Answer", "ToClient", "ToWorker"]


class ToWorker(msgspec.Struct):
    """Send this batch to the worker at ``address``."""

    address: str
    messages: list[Message]


class ToClient(msgspec.Struct):
    """Send this batch to the client with this id."""

    client: str
    messages: list[Message]


class Answer(msgspec.Struct):
    """The control event with this ``token`` is done: its ``result``, or ``error`` if not None."""

    token: int
    result: Any = None
    error: ErrorInfo | None = None


Action: TypeAlias = ToWorker | ToClient | Answer
