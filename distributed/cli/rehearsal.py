"""One short life of a worker, played before the first real one is forked.

What a process makes on first use (decoders, tables of operations, specialised bytecode, late
imports) is then there already and shared by all workers: less memory for each, and an earlier
start.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import tempfile
from typing import Final

from distributed.comm import Connection
from distributed.daemon import Daemon
from distributed.errors import DistributedError
from distributed.messages import AddFunction, Reply, Request, RunTask
from distributed.wire.payload import dumps, dumps_call
from distributed.worker import Worker

__all__ = ["rehearse"]

logger = logging.getLogger(__name__)

_LOOPBACK: Final = "127.0.0.1"
_PATIENCE_S: Final = 2.0


class _Stage(Daemon):
    """As much of a scheduler as a worker with a single task sees; ``done`` is set when that has
    ended.
    """

    kind = "Scheduler"

    def __init__(self, *, host: str, secret: bytes) -> None:
        super().__init__(host=host, secret=secret)
        self.done = asyncio.Event()

    async def _serve(self, connection: Connection) -> None:
        (request,) = await connection.read()
        assert isinstance(request, Request)
        welcome = {"id": self.id, "name": "rehearsal", "heartbeat_s": 60.0}
        call, _ = dumps_call(([1, 2],), {})
        connection.send(
            Reply(request.id, welcome),
            AddFunction("sum", dumps(sum)),
            RunTask("task", 1, "sum", call),
        )
        await connection.read()
        self.done.set()
        await connection.read()


def rehearse() -> bool:
    """Play the life of a worker; return whether it went well.

    Nothing is left of it but warm caches: no loop, no thread, no file.  A host where it fails (no
    loopback, no temporary folder) has its workers start a little slower.
    """
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        asyncio.run(asyncio.wait_for(_play(), _PATIENCE_S))
    except (DistributedError, OSError, asyncio.TimeoutError):
        return False
    finally:
        logging.disable(level)
    return True


async def _play() -> None:
    secret = secrets.token_bytes(32)
    stage = _Stage(host=_LOOPBACK, secret=secret)
    stage.start(0)
    try:
        with tempfile.TemporaryDirectory() as folder:
            worker = Worker(_LOOPBACK, stage.port, ip=_LOOPBACK, ncores=1, local_dir=folder, secret=secret)
            worker.start(0)
            try:
                await stage.done.wait()
            finally:
                await worker.close()
    finally:
        await stage.close()
