"""One short life of a worker, played before the first real one is forked.

What a process makes on first use (decoders, tables of operations, specialised bytecode, late
imports) is then there already and shared by all workers: less memory for each, and an earlier
start.

Sharing ends page by page: a call counts a reference in the function's code object, so a worker gets
its own copy of every page on which a function lies that it runs.  The rehearsal notices which those
are and moves their code together, onto fewer pages.  What a process runs only because it was forked
is noticed in one that is forked for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import secrets
import select
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

from distributed import eventloop, logs
from distributed.comm import Connection
from distributed.daemon import Daemon
from distributed.errors import DistributedError
from distributed.messages import AddFunction, Goodbye, Heartbeat, Reply, Request, RunTask, TaskFinished
from distributed.nanny.forkserver import Reporter, Work, serve
from distributed.nanny.orders import Exited, Spawn, WorkerSettings, decode_report, encode
from distributed.wire.payload import dumps, dumps_call
from distributed.worker import Worker

__all__ = ["rehearse"]

logger = logging.getLogger(__name__)

_LOOPBACK: Final = "127.0.0.1"
_PATIENCE_S: Final = 2.0
_TRIAL: Final = WorkerSettings(scheduler=f"{_LOOPBACK}:1", secret=bytes(32), host=_LOOPBACK, death_timeout_s=1e-3)
"""Nobody listens at this port, so the worker ends at once."""
_called: Final[set[int]] = set()
_kept: Final[list[CodeType]] = []
"""The old code, for ever: where it was freed, workers would put new things, on as many pages as before."""


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


def rehearse(work: Work | None = None) -> bool:
    """Play the life of a worker until all is warm; return whether it went well.

    With ``work``, what worker processes will do, also fork one that finds no scheduler.  This process must have one
    thread and no event loop.

    Nothing is left of it but warm caches and code that lies together: no loop, no thread, no file.
    A host where it fails (no loopback, no temporary folder) has its workers start a little slower.
    """
    try:
        with _logging_to_nowhere():
            eventloop.run(asyncio.wait_for(_play(), _PATIENCE_S))
            with _Noting(_called) as noting:
                eventloop.run(asyncio.wait_for(_play(), _PATIENCE_S))
            if work is not None and noting.is_free:
                _called.update(_run_by_a_fork(work))
            _move_together(_called)
            # The moved code is as new: what the interpreter learns of it is to be shared, too.
            eventloop.run(asyncio.wait_for(_play(), _PATIENCE_S))
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
    """Notes the code of all functions that are called in any thread.

    Does nothing under a debugger or a profiler: there is one place for such a hook.
    """

    def __init__(self, called: set[int]) -> None:
        self._called = called
        self.is_free = sys.getprofile() is None

    def __enter__(self) -> _Noting:
        if self.is_free:
            threading.setprofile(self._note)
            sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_free:
            sys.setprofile(None)
            threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            self._called.add(id(frame.f_code))


def _run_by_a_fork(work: Work) -> list[int]:
    """Return which code a worker process runs that is forked and finds no scheduler, and so does its fork server.

    By identity, which is the same in a forked process for all that was there before.
    """
    orders, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    called: set[int] = set()

    def noted(settings: WorkerSettings, reporter: Reporter) -> int:
        code = work(settings, reporter)
        os.write(write_end, json.dumps(sorted(called)).encode() + b"\n")
        return code

    pid = os.fork()
    if pid == 0:
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
            orders.close()
            with _Noting(called):
                serve(theirs, write_end, noted)
        finally:
            os._exit(0)
    try:
        theirs.close()
        os.close(write_end)
        orders.sendall(encode(Spawn(0, _TRIAL)))
        return _noted_numbers(read_end)
    finally:
        orders.close()  # which ends both
        os.close(read_end)
        os.waitpid(pid, 0)


def _noted_numbers(fd: int) -> list[int]:
    """Wait for the line with the notes among the reports."""
    data, deadline_s = b"", time.monotonic() + _PATIENCE_S
    while select.select([fd], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
        more = os.read(fd, 65536)
        data += more
        for line in data.split(b"\n")[:-1]:
            if line.startswith(b"["):
                return json.loads(line)  # type: ignore[no-any-return]
            if isinstance(decode_report(line), Exited):
                return []  # it went wrong
        if not more:
            break
    return []


def _move_together(called: set[int]) -> None:
    """Give the functions whose code was called copies of it, made one right after the other."""
    gc.unfreeze()  # what is frozen is in no list
    owners: dict[int, list[FunctionType]] = {}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and id(thing.__code__) in called:
            owners.setdefault(id(thing.__code__), []).append(thing)
    for functions in owners.values():
        old = functions[0].__code__
        _kept.append(old)
        copy = _copied(old, called)
        for function in functions:
            function.__code__ = copy
    gc.freeze()


def _copied(code: CodeType, called: set[int]) -> CodeType:
    """Return a copy of the code, with copies of those of its inner functions that were called."""
    inner = [_copied(one, called) if type(one) is CodeType and id(one) in called else one for one in code.co_consts]
    return code.replace(co_consts=tuple(inner))


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
