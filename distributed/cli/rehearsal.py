"""One short life of a worker, played before the first real one is forked.

What a process makes on first use (decoders, tables of operations, specialised bytecode, late
imports) is then there already and shared by all workers: less memory for each, and an earlier
start.

Sharing ends page by page: a call counts a reference in the function's code object, so a worker gets
its own copy of every page on which a function lies that it runs.  The rehearsal notices which those
are and moves their code together, onto a few pages instead of hundreds.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

from distributed import logs
from distributed.comm import Connection
from distributed.daemon import Daemon
from distributed.errors import DistributedError
from distributed.messages import AddFunction, Goodbye, Heartbeat, Reply, Request, RunTask, TaskFinished
from distributed.wire.payload import dumps, dumps_call
from distributed.worker import Worker

__all__ = ["rehearse"]

logger = logging.getLogger(__name__)

_LOOPBACK: Final = "127.0.0.1"
_PATIENCE_S: Final = 2.0
# For ever: where old code was freed, workers would put new things, on as many pages as before.
# By identity, because code that only looks the same, from another file, is equal.
_called: Final[dict[int, CodeType]] = {}


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
        welcome = {"id": self.id, "name": "rehearsal", "heartbeat_s": 0.001}
        call, _ = dumps_call(([1, 2],), {})
        connection.send(
            Reply(request.id, welcome),
            AddFunction("sum", dumps(sum)),
            RunTask("task", 1, "sum", call),
        )
        await _heard(connection, TaskFinished, Heartbeat)
        self.done.set()
        await _heard(connection, Goodbye)


async def _heard(connection: Connection, *kinds: type) -> None:
    """Read until messages of all these kinds have come."""
    awaited = set(kinds)
    while awaited:
        awaited.difference_update(map(type, await connection.read()))


def rehearse() -> bool:
    """Play the life of a worker twice; return whether it went well.

    Nothing is left of it but warm caches and code that lies together: no loop, no thread, no file.
    A host where it fails (no loopback, no temporary folder) has its workers start a little slower.
    """
    try:
        with _logging_to_nowhere():
            with _Noting(_called):
                asyncio.run(asyncio.wait_for(_play(), _PATIENCE_S))
            _move_together(_called)
            # The moved code is as new: what the interpreter learns of it is to be shared, too.
            asyncio.run(asyncio.wait_for(_play(), _PATIENCE_S))
    except (DistributedError, OSError, asyncio.TimeoutError):
        return False
    return True


@contextlib.contextmanager
def _logging_to_nowhere() -> Iterator[None]:
    """Have what is logged formatted and written as in a worker's life, but seen by nobody."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with open(os.devnull, "w") as nowhere:
        handler = logging.StreamHandler(nowhere)
        handler.setFormatter(logging.Formatter(logs.FORMAT))
        root.handlers = [handler]
        root.setLevel(logging.INFO)
        try:
            yield
        finally:
            root.handlers = handlers
            root.setLevel(level)


class _Noting:
    """Notes the code of all functions that are called in any thread, in the order of their first calls.

    Does nothing under a debugger or a profiler: there is one place for such a hook.
    """

    def __init__(self, called: dict[int, CodeType]) -> None:
        self._called = called
        self._free = sys.getprofile() is None

    def __enter__(self) -> None:
        if self._free:
            threading.setprofile(self._note)
            sys.setprofile(self._note)

    def __exit__(self, *_: object) -> None:
        if self._free:
            sys.setprofile(None)
            threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            self._called[id(frame.f_code)] = frame.f_code


def _move_together(called: dict[int, CodeType]) -> None:
    """Give the functions whose code was called copies of it, made one right after the other."""
    # Referrers, because a list of all objects would count a reference in each, and so copy every page here.
    gc.unfreeze()  # what is frozen has no referrers
    owners: dict[int, list[FunctionType]] = {}
    for thing in gc.get_referrers(*called.values()):
        if type(thing) is FunctionType:
            owners.setdefault(id(thing.__code__), []).append(thing)
    for number, code in called.items():
        if functions := owners.get(number):
            copy = code.replace()
            for function in functions:
                function.__code__ = copy
    gc.freeze()


async def _play() -> None:
    secret = secrets.token_bytes(32)
    stage = _Stage(host=_LOOPBACK, secret=secret)
    stage.start(0)
    try:
        with tempfile.TemporaryDirectory() as folder:
            worker = Worker(_LOOPBACK, stage.port, ncores=1, local_dir=folder, secret=secret)
            worker.start(0)
            try:
                await stage.done.wait()
                await stage.pool.request(worker.address, "run", function=dumps((sum, ([1, 2],), {})))
            finally:
                await worker.close()
    finally:
        await stage.close()
