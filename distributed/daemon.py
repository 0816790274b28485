"""The one daemon core: what Scheduler, Worker, Nanny and Launcher have in common.

A daemon listens, admits only peers that hold the cluster's secret, serves its operations to them,
owns every task it starts, and ends clean.  What makes it a scheduler or a worker is a pure machine
beside it, which decides; the daemon carries out.

House rules
- ``handle`` of a machine is called on the loop and never awaits: events are serial, no locks.
- A lost connection is an event.  A peer's nonsense costs the peer an error reply or its
  connection, and one log line.
- Our own illegal state is a bug: it ends the process with exit code 70 rather than leave it half
  alive.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import logging
import socket
import uuid
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, ClassVar

from tornado.ioloop import IOLoop
from tornado.iostream import IOStream
from tornado.tcpserver import TCPServer

from distributed.clusterfile import default_secret
from distributed.comm import accept
from distributed.connection import HIGH_WATER, Connection
from distributed.errors import (
    AuthenticationError,
    CommError,
    ConfigError,
    ConnectionClosedError,
    LocalProtocolError,
    RemoteProtocolError,
)
from distributed.listener import listen
from distributed.messages import Reply, Request
from distributed.network import join_address, own_address, resolve_host
from distributed.operations import Operation, operation, operations_of, stream_operation
from distributed.pool import ConnectionPool
from distributed.wire.failure import dump_error

__all__ = ["EXIT_BUG", "Daemon", "operation", "stream_operation"]

logger = logging.getLogger(__name__)

EXIT_BUG = 70
"""Exit code of a daemon that met a bug of its own (EX_SOFTWARE of sysexits.h)."""
_CANCEL_S = 5.0
_FLUSH_S = 2.0
_LONGEST_NAME = 100


class Daemon(TCPServer):
    """A server of operations; see the module's docstring.

    ``loop``: the Tornado loop to run on (default: the current one).  ``host``: the address to
    listen on and to tell others (default: listen on all, tell the best one).  ``secret``: of the
    cluster (default: the user's own).
    """

    kind: ClassVar[str] = "Daemon"
    unpickles: ClassVar[bool] = True
    """Whether this daemon may rebuild the exceptions of its peers; a scheduler must not."""
    _operations: ClassVar[dict[str, Operation]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._operations = {}

    def __init__(self, *, loop: IOLoop | None = None, host: str | None = None, secret: bytes | None = None) -> None:
        super().__init__(max_buffer_size=2**40)
        self.loop = loop or IOLoop.current()
        self.host = host
        self.id = f"{self.kind}-{uuid.uuid4().hex[:12]}"
        self.status = "created"
        self.exit_code = 0
        self.close_reason = ""
        self._secret = secret if secret is not None else default_secret()
        if not self._secret:
            raise ValueError("an empty secret would let everybody in")
        self.pool = ConnectionPool(self._secret, role=self.kind.lower(), unpickle=self.unpickles)
        self._port: int | None = None
        self._unserved: list[socket.socket] = []
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._finished: asyncio.Event = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{self.kind} {self.address if self._port else 'not listening'}, {self.status}>"

    # -- life ------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port listened on.  Raises OSError before ``start``."""
        if self._port is None:
            raise OSError(f"the {self.kind.lower()} does not listen yet; call start() first")
        return self._port

    @property
    def address(self) -> str:
        """``"ip:port"`` where peers reach this daemon.  Raises OSError before ``start``."""
        return join_address(self.host or own_address(), self.port)

    @property
    def facing(self) -> str:
        """``"host:port"`` of the peer that it is there for, as far as known; empty for nobody's."""
        return ""

    def _find_host(self) -> str:
        """Return the address to tell others where none was given: the one that faces the peer, else the best one."""
        if self.facing:
            with contextlib.suppress(OSError, ConfigError):  # its name may be resolvable later
                return own_address(self.facing)
        return own_address()

    def bind(self, port: int = 0) -> None:  # type: ignore[override]
        """Listen on ``port`` (0: any free one); connections wait until ``start``.

        Raises ConfigError if the port is taken or the host is not one of ours.
        """
        if not 0 <= port < 65536:
            raise ConfigError(f"{port} is not a port: use 0 to 65535", key="port", value=port)
        if self.host is None:
            host = self._find_host()
            where = "::" if ":" in host else "0.0.0.0"  # noqa: S104 - peers prove themselves
        else:
            host = where = resolve_host(self.host)
        try:
            sock = listen(where, port)
        except OSError as error:
            problem = _bind_problem(self.kind, where, port, error)
            raise ConfigError(problem, key="port", value=port) from error
        self.host = host
        self._unserved = [sock]
        self._port = sock.getsockname()[1]

    def start(self, port: int = 0) -> Any:  # type: ignore[override]
        """Listen on ``port`` and begin to serve; from any thread, before or after the loop runs.

        Returns a future of the end of the start-up: awaitable when called on the loop, else a
        ``concurrent.futures.Future`` with ``result()``.  Raises ConfigError if the port is taken.
        """
        if self.status != "created":
            raise RuntimeError(f"the {self.kind.lower()} was started before")
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
        started.set_running_or_notify_cancel()
        self.loop.add_callback(self._begin_for, started)
        return started

    async def _begin_for(self, started: concurrent.futures.Future[None]) -> None:
        task = self.own(self._begin(), name="start")
        await asyncio.wait([task])
        if task.cancelled():
            reason = f"the {self.kind.lower()} was closed during its start"
            started.set_exception(ConnectionClosedError(reason))
        elif (error := task.exception()) is not None:
            started.set_exception(error)
        else:
            started.set_result(None)

    async def _begin(self) -> None:
        if self.status != "starting":
            raise ConnectionClosedError(f"the {self.kind.lower()} was closed before its start")
        unserved, self._unserved = self._unserved, []
        self.add_sockets(unserved)
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
        """Run a coroutine as a task of this daemon.

        It is cancelled at the daemon's close; its crash closes the daemon.
        """
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
        self._closer = asyncio.ensure_future(self.close(reason))

    async def close(self, reason: str = "closed") -> None:
        """Stop serving, end all tasks, flush and close all connections.

        Idempotent; all callers wait for the end.
        """
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._do_close(reason))
        await asyncio.shield(self._closing)

    async def _do_close(self, reason: str) -> None:
        self.status = "closing"
        self.close_reason = reason
        self.stop()
        for sock in self._unserved:
            sock.close()
        try:
            await self._close(reason)
        except Exception:
            logger.exception("%s: closing went wrong", self.kind)
            self.exit_code = self.exit_code or EXIT_BUG
        # Before the tasks end: some abort their connection, and what was said must arrive.
        await _all([connection.drain() for connection in self._connections], _FLUSH_S)
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await _all(tasks, _CANCEL_S)
        for task in tasks:
            if not task.done():
                logger.warning("%s: task %s does not end", self.kind, task.get_name())
        await _all([connection.close(timeout_s=_FLUSH_S) for connection in self._connections])
        await self.pool.close()
        self.status = "closed"
        self._finished.set()

    async def finished(self) -> None:
        """Wait until the daemon is closed."""
        await self._finished.wait()

    # -- serving ---------------------------------------------------------------------------------

    @classmethod
    def operations(cls) -> dict[str, Operation]:
        """Return the operations of this daemon class by name."""
        if not cls._operations:
            cls._operations = operations_of(cls)
        return cls._operations

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Admit one peer and serve it until it leaves (called by Tornado for every connection).

        Nothing was read from the stream yet, so its socket is as good as new; it is watched in our own way.
        """
        if self._closing is not None:
            stream.close()
            return
        self.own(self._admit(stream.socket), name=f"peer {address[0]}:{address[1]}")

    async def _admit(self, sock: socket.socket) -> None:
        try:
            connection = await accept(sock, self._secret)
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
            await self._hang_up(connection, error)
        except CommError as error:
            logger.debug("%s", error)
        except Exception as error:  # noqa: BLE001 - a bug of ours ends the daemon, by its name
            self.report_bug(error, f"serving {connection.peer}")
        finally:
            # In a close, what was to be said has been given its time already.
            await connection.close(timeout_s=_FLUSH_S)
            self._connections.discard(connection)

    async def _hang_up(self, connection: Connection, error: Exception) -> None:
        """Tell a peer whose bytes make no sense any more why it is disconnected."""
        if connection.closed:
            return
        connection.send(Reply(error=dump_error(error)))
        await connection.linger()

    async def _serve(self, connection: Connection) -> None:
        # A turn of its own for each batch: a peer may be silent for long after one, and what it
        # sent last must not be kept so long.
        while await self._serve_batch(connection):
            pass

    async def _serve_batch(self, connection: Connection) -> bool:
        """Answer what a peer sends next; return whether to go on."""
        try:
            batch = await connection.read()
        except RemoteProtocolError as error:
            if not connection.sound:
                raise
            logger.warning("%s sent nonsense: %s", connection.peer, error)
            connection.send(Reply(error=dump_error(error)))
            await connection.drain(HIGH_WATER)
            return True
        for position, message in enumerate(batch):
            if not isinstance(message, Request):
                logger.warning("%s sent nonsense: %s", connection.peer, problem := _misplaced(message))
                connection.send(Reply(error=dump_error(problem)))
            elif (found := self._find(message.op)) is not None and found.takes_stream:
                connection.unread(batch[position + 1 :])
                await self._hand_over(connection, found, message)
                return False
            else:
                self.reply(connection, await self.answer(message))
            # A peer that asks and does not read the answers is not asked for more.
            await connection.drain(HIGH_WATER)
        return True

    async def _hand_over(self, connection: Connection, found: Operation, message: Request) -> None:
        try:
            kwargs = found.check(message.kwargs)
        except TypeError as error:
            connection.send(Reply(message.id, error=dump_error(error)))
            return
        await found.function(self, connection, message.id, **kwargs)

    def _find(self, op: str) -> Operation | None:
        return self.operations().get(op.replace("-", "_"))

    def reply(self, connection: Connection, reply: Reply) -> None:
        """Send a reply, or an error in its place if its result cannot be encoded."""
        try:
            connection.send(reply)
        except LocalProtocolError as error:
            logger.debug("a result cannot be sent", exc_info=True)
            connection.send(Reply(reply.id, error=dump_error(error, worker=self.address)))

    async def answer(self, request: Request) -> Reply:
        """Carry out a request and return the reply, whatever happens in it."""
        try:
            found = self._find(request.op)
            if found is None or found.takes_stream:
                known = ", ".join(sorted(self.operations()))
                name = request.op[:_LONGEST_NAME]
                raise TypeError(f"a {self.kind} has no operation {name!r} here; it has: {known}")
            result = await found.function(self, **found.check(request.kwargs))
            return Reply(request.id, result)
        except (GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self._closing is not None:
                raise
            logger.debug("operation %s failed", request.op[:_LONGEST_NAME], exc_info=True)
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


def _misplaced(message: object) -> RemoteProtocolError:
    return RemoteProtocolError(f"{type(message).__name__} does not belong on this connection")


async def _all(awaitables: Iterable[Awaitable[Any]], timeout_s: float | None = None) -> None:
    """Wait for the ends, good or bad, of all; cancel those that do not end in time."""
    futures = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    if not futures:
        return
    done, late = await asyncio.wait(futures, timeout=timeout_s)
    for future in done:
        if not future.cancelled():
            future.exception()  # whoever made it knows
    for future in late:
        future.cancel()


def _bind_problem(kind: str, host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} is in use on this host, perhaps by another {kind.lower()}: "
            "choose another one with --port, or 0 for any free one"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this host: name one of its own with --host or --interface"
    if error.errno == errno.EACCES:
        return f"port {port} needs special rights: choose one above 1023 with --port"
    return f"cannot listen on {host}:{port}: {error.strerror or error}"
