"""Watching a scheduler: which workers it has, and who comes and goes."""

from __future__ import annotations

from collections.abc import Callable

from distributed.comm import connect
from distributed.messages import Request, WorkerAppeared, WorkerDisappeared

__all__ = ["watch_workers"]

_CONNECT_S = 10.0


async def watch_workers(
    address: str, secret: bytes, tell: Callable[[WorkerAppeared | WorkerDisappeared], None]
) -> None:
    """Tell of each worker of the scheduler at ``address``, then of all that appear and disappear.

    Ends only by CommError: when the scheduler cannot be reached or is gone.
    """
    connection = await connect(address, secret=secret, timeout_s=_CONNECT_S, role="launcher")
    try:
        connection.send(Request("watch", {}, 1))
        while True:
            for message in await connection.read():
                if isinstance(message, WorkerAppeared | WorkerDisappeared):
                    tell(message)
    finally:
        connection.abort()
