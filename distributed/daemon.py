"""The one daemon core: what Scheduler, Worker, Nanny and Launcher have in common.

A daemon listens, admits only peers that hold the cluster's secret, serves its operations to them, owns every task it
starts, and ends clean.  What makes it a scheduler or a worker is a pure machine beside it, which decides; the daemon
carries out.

House rules
- ``handle`` of a machine is called on the loop and never awaits: events are serial, there are no locks.
- A lost connection is an event.  A peer's nonsense costs the peer an error reply or its connection, and one log line.
- Our own illegal state is a bug: it ends the process with exit code 70 rather than leave it half alive.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import inspect
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, TypeVar, get_type_hints

import msgspec
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.tcpserver import TCPServer

from distributed.clusterfile import default_secret
from distributed.comm import Connection, accept
from distributed.errors import AuthenticationError, CommError, ConfigError, RemoteProtocolError
from distributed.messages import Reply, Request
from distributed.network import own_address, resolve_host
from distributed.pool import ConnectionPool
from distributed.wire.failure import dump_error

__all__ = ["EXIT_BUG", "Daemon", "operation", "stream_operation"]

logger = logging.getLogger(__name__)

EXIT_BUG = 70
"""Exit code of a daemon that met a bug of its own (EX_SOFTWARE of sysexits.h)."""

_Method = TypeVar("_Method", bound=Callable[..., Any])


def operation(method: _Method) -> _Method:
    """Make a coroutine method an operation that peers can request by its name.

    Keyword arguments are checked against its annotations; what it returns must be encodable (see ``messages.py``).
    """
    method._dlaunch_operation = "request"  # type: ignore[attr-defined]
    return method


def stream_operation(method: _Method) -> _Method:
    """Make a coroutine method an operation that takes over the connection.

    It is called as ``method(connection, request_id, **kwargs)``, answers with ``Reply(request_id, ...)`` itself, and
    the connection is closed when it returns.
    """
    method._dlaunch_operation = "stream"  # type: ignore[attr-defined]
    return method


class _Operation:
    """One operation of a daemon class: how to call it and how to check its arguments."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.takes_stream = function._dlaunch_operation == "stream"  # type: ignore[attr-defined]
        parameters = list(inspect.signature(function).parameters.values())[3 if self.takes_stream else 1 :]
        hints = get_type_hints(function)
        fields: list[Any] = [
            (p.name, hints.get(p.name, Any))
            if p.default is p.empty
            else (p.name, hints.get(p.name, Any), msgspec.field(default_factory=lambda value=p.default: value))
            for p in parameters
        ]
        self._arguments = msgspec.defstruct(f"{name}_arguments", fields, forbid_unknown_fields=True, kw_only=True)

    def check(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments, complete and of the declared types; raises TypeError naming the wrong one."""
        try:
            return msgspec.structs.asdict(msgspec.convert(kwargs, self._arguments))
        except msgspec.ValidationError as error:
            raise TypeError(f"operation {self.name}: {error}") from None


class Daemon(TCPServer):
    """A server of operations; see the module's docstring.

    ``loop``: the Tornado loop to run on (default: the current one).  ``host``: the address to listen on and to tell
    others (default: listen on all, tell the best one).  ``secret``: of the cluster (default: the user's own).
    """

    kind: ClassVar[str] = "Daemon"
    _operations: ClassVar[dict[str, _Operation]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._operations = {}

    def __init__(
        self, *, loop: IOLoop | None = None, host: str | None = None, secret: bytes | None = None
    ) -> None:
        super().__init__(max_buffer_size=2**40)
        self.loop = loop or IOLoop.current()
        self.host = host
        self.id = f"{self.kind}-{uuid.uuid4().hex[:12]}"
        self.status = "created"
        self.exit_code = 0
        self.close_reason = ""
        self._secret = secret if secret is not None else default_secret()
        self.pool = ConnectionPool(self._secret, role=self.kind.lower())
        self._port: int | None = None
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._finished: asyncio.Event = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{self.kind} {self.address if self._port else 'not listening'}, {self.status}>"

    # -- life ------------------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port listened on.  Raises OSError before ``start``."""
        if self._port is None:
            raise OSError(f"the {self.kind.lower()} does not listen yet; call start() first")
        return self._port

    @property
    def address(self) -> str:
        """``"ip:port"`` where peers reach this daemon.  Raises OSError before ``start``."""
        host = self.host or own_address()
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def bind(self, port: int = 0) -> None:
        """Listen on ``port`` (0: any free one); connections wait until ``start``.

        Raises ConfigError if the port is taken or the host is not one of ours.
        """
        if self.host is None:
            self.host, where = own_address(), "0.0.0.0"
        else:
            self.host = where = resolve_host(self.host)
        try:
            sockets = bind_sockets(port, address=where, backlog=4096)
        except OSError as error:
            raise ConfigError(_bind_problem(self.kind, where, port, error), key="port", value=port) from error
        self._sockets_to_serve = sockets
        self._port = sockets[0].getsockname()[1]

    def start(self, port: int = 0) -> Awaitable[None] | concurrent.futures.Future[None]:  # type: ignore[override]
        """Listen on ``port`` and begin to serve; may be called from any thread, before or after the loop runs.

        Returns a future of the end of the start-up: awaitable when called on the loop, else one with ``result()``.
        Raises ConfigError (also an OSError's text) if the port is taken.
        """
        if self._port is None:
            self.bind(port)
        self.status = "starting"
        try:
            on_loop = asyncio.get_running_loop() is self.loop.asyncio_loop  # type: ignore[attr-defined]
        except RuntimeError:
            on_loop = False
        if on_loop:
            return self.own(self._begin(), name="start")
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.loop.add_callback(self._begin_for, started)
        return started

    async def _begin_for(self, started: concurrent.futures.Future[None]) -> None:
        task = self.own(self._begin(), name="start")
        await asyncio.wait([task])
        if task.cancelled() or task.exception() is not None:
            started.set_exception(task.exception() if not task.cancelled() else CommError("closed during start"))
        else:
            started.set_result(None)

    async def _begin(self) -> None:
        self.add_sockets(self._sockets_to_serve)
        try:
            await self._start()
        except (ConfigError, CommError) as error:
            logger.error("%s could not start: %s", self.kind, error)
            self.exit_code = self.exit_code or 1
            self._close_soon(str(error))
            raise
        if self.status == "starting":
            self.status = "running"

    async def _start(self) -> None:
        """For subclasses: what to do once the daemon listens."""

    async def _close(self, reason: str) -> None:
        """For subclasses: what to do before connections are flushed and closed."""

    def own(self, coro: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Run a coroutine as a task of this daemon: cancelled at its close; its crash closes the daemon."""
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, ConfigError | CommError):
            logger.debug("%s: task %s ended by %r", self.kind, task.get_name(), error)
            return
        self.report_bug(error, f"task {task.get_name()}")

    def report_bug(self, error: BaseException, where: str) -> None:
        """Log an error of our own and end the daemon with exit code 70."""
        logger.error("%s: bug in %s, ending", self.kind, where, exc_info=error)
        self.exit_code = EXIT_BUG
        self._close_soon(f"bug in {where}: {error}")

    def _close_soon(self, reason: str) -> None:
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(self.close(reason)))

    async def close(self, reason: str = "closed") -> None:
        """Stop serving, end all tasks, flush and close all connections.  Idempotent; callers wait for the end."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._do_close(reason))
        await asyncio.shield(self._closing)

    async def _do_close(self, reason: str) -> None:
        self.status = "closing"
        self.close_reason = reason
        self.stop()
        try:
            await self._close(reason)
        except Exception:
            logger.exception("%s: closing went wrong", self.kind)
            self.exit_code = self.exit_code or EXIT_BUG
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)
        if self._connections:
            await asyncio.wait([asyncio.ensure_future(c.close(timeout_s=2.0)) for c in list(self._connections)])
        await self.pool.close()
        self.status = "closed"
        self._finished.set()

    async def finished(self) -> None:
        """Wait until the daemon is closed."""
        await self._finished.wait()

    # -- serving ---------------------------------------------------------------------------------------------------

    @classmethod
    def operations(cls) -> dict[str, _Operation]:
        """Return the operations of this daemon class by name."""
        if not cls._operations:
            for name, member in inspect.getmembers(cls, inspect.isfunction):
                if hasattr(member, "_dlaunch_operation"):
                    cls._operations[name] = _Operation(name, member)
        return cls._operations

    async def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Admit one peer and serve it until it leaves (called by Tornado for every connection)."""
        try:
            connection = await accept(stream, self._secret)
        except AuthenticationError as error:
            logger.warning("%s", error)
            return
        except (CommError, OSError) as error:
            logger.debug("%s", error)
            return
        self._connections.add(connection)
        try:
            await self._serve(connection)
        except RemoteProtocolError as error:
            logger.warning("%s sent nonsense and is disconnected: %s", connection.peer, error)
        except CommError as error:
            logger.debug("%s", error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.report_bug(error, "serving a connection")
        finally:
            self._connections.discard(connection)
            await connection.close()

    async def _serve(self, connection: Connection) -> None:
        while True:
            try:
                batch = await connection.read()
            except RemoteProtocolError as error:
                if connection.closed:
                    raise
                logger.warning("%s sent nonsense: %s", connection.peer, error)
                connection.send(Reply(error=dump_error(error)))
                continue
            for message in batch:
                if not isinstance(message, Request):
                    problem = RemoteProtocolError(f"{type(message).__name__} does not belong on this connection")
                    connection.send(Reply(error=dump_error(problem)))
                    continue
                found = self.operations().get(message.op.replace("-", "_"))
                if found is not None and found.takes_stream:
                    await self._hand_over(connection, found, message)
                    return
                connection.send(await self.answer(message))

    async def _hand_over(self, connection: Connection, found: _Operation, message: Request) -> None:
        try:
            kwargs = found.check(message.kwargs)
        except TypeError as error:
            connection.send(Reply(message.id, error=dump_error(error)))
            return
        await found.function(self, connection, message.id, **kwargs)

    async def answer(self, request: Request) -> Reply:
        """Carry out a request and return the reply, whatever happens in it."""
        try:
            found = self.operations().get(request.op.replace("-", "_"))
            if found is None or found.takes_stream:
                known = ", ".join(sorted(self.operations()))
                raise TypeError(f"a {self.kind} has no operation {request.op!r} here; it has: {known}")
            result = await found.function(self, **found.check(request.kwargs))
            return Reply(request.id, result)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            logger.debug("operation %s failed", request.op, exc_info=True)
            return Reply(request.id, error=dump_error(error, worker=self.address))

    @operation
    async def identity(self) -> dict[str, Any]:
        """Say who this is: ``type``, ``id`` and ``address``."""
        return {"type": self.kind, "id": self.id, "address": self.address}

    @operation
    async def ping(self) -> str:
        """Answer ``"pong"``."""
        return "pong"

    @operation
    async def terminate(self) -> str:
        """Close this daemon; its process ends with exit code 0."""
        logger.info("%s was told to terminate", self.kind)
        self._close_soon("terminated")
        return "OK"


def _bind_problem(kind: str, host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} is in use on this host, perhaps by another {kind.lower()}: choose another one with --port, "
            "or 0 for any free one"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this host: name one of its own with --host or --interface"
    if error.errno == errno.EACCES:
        return f"port {port} needs special rights: choose one above 1023 with --port"
    return f"cannot listen on {host}:{port}: {error.strerror or error}"
