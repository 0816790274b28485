"""Connections, daemons and strangers for the tests of the core."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

from distributed.connection import Connection
from distributed.daemon import Daemon, operation, stream_operation
from distributed.messages import Reply
from distributed.payloads import Buffer

SECRET = b"s" * 32
OTHER_SECRET = b"t" * 32


@contextlib.asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[tuple[Connection, Connection]]:
    """Two ends of one connection, without a handshake."""
    left, right = socket.socketpair()
    ends = [Connection(sock, name, **options) for sock, name in [(left, "right"), (right, "left")]]
    try:
        yield ends[0], ends[1]
    finally:
        for end in ends:
            end.abort()


async def write_raw(connection: Connection, data: bytes) -> None:
    """Send bytes that no connection would, behind what it has sent."""
    await connection.drain()
    connection._pieces = [data]
    connection._in_flight = len(data)
    connection._write()
    await connection.drain()


class Answerer(Daemon):
    """A daemon that does what the test asks for."""

    kind = "Answerer"

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"host": "127.0.0.1", "secret": SECRET, **options})
        self.started: list[Any] = []
        self.cancelled: list[Any] = []
        self.raises: BaseException | None = None
        self.streams: list[list[Any]] = []

    @operation
    async def echo(self, value: Any = None) -> Any:
        """Return ``value``."""
        return value

    @operation
    async def add(self, one: int, two: int = 1) -> int:
        """Return the sum."""
        return one + two

    @operation
    async def measure(self, data: Buffer) -> int:
        """Return the size of ``data``."""
        return len(data)

    @operation
    async def make(self, size: int) -> Buffer:
        """Return so many bytes."""
        return Buffer(bytes(size))

    @operation
    async def fail(self) -> None:
        """Raise what the test wants raised."""
        assert self.raises is not None
        raise self.raises

    @operation
    async def unencodable(self) -> Any:
        """Return what no message can hold."""
        return object()

    @operation
    async def sleep(self, seconds: float = 3600.0) -> str:
        """Answer late."""
        self.started.append(seconds)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(seconds)
            raise
        return "awake"

    @stream_operation
    async def collect(self, connection: Connection, request_id: int, number: int = 1) -> None:
        """Take messages until there are ``number``, then say so."""
        connection.send(Reply(request_id, "OK"))
        got: list[Any] = []
        self.streams.append(got)
        while len(got) < number:
            got += await connection.read()
        connection.send(Reply(request_id, len(got)))

    @stream_operation
    async def crash(self, connection: Connection, request_id: int) -> None:
        """Be a bug."""
        raise ZeroDivisionError("a bug")


@contextlib.asynccontextmanager
async def running(daemon: Daemon | None = None, **options: Any) -> AsyncIterator[Any]:
    """A daemon that listens, closed in the end."""
    daemon = daemon or Answerer(**options)
    await daemon.start(0)
    try:
        yield daemon
    finally:
        await daemon.close("end of test")


class Stranger:
    """Somebody with a bare socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        host, port = writer.get_extra_info("sockname")[:2]
        self.address = f"{host}:{port}"

    @classmethod
    async def meet(cls, daemon: Daemon) -> Stranger:
        """Connect to a daemon and say nothing."""
        return cls(*await asyncio.open_connection("127.0.0.1", daemon.port))

    async def say(self, data: bytes, *, and_leave: bool = False) -> None:
        """Send bytes."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()
            if and_leave:
                await self.leave()

    async def leave(self) -> None:
        """Hang up."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def hear(self, timeout_s: float = 5.0) -> bytes:
        """All bytes until the daemon hangs up."""
        heard = b""
        with contextlib.suppress(ConnectionError):
            while data := await asyncio.wait_for(self.reader.read(65536), timeout_s):
                heard += data
        await self.leave()
        return heard
