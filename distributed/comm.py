"""Connections: authenticated, framed, ordered, with an outbox that never delays and never grows unseen.

``Connection.send`` puts messages into the outbox at once, in order.  The outbox is written at the end of the current
turn of the event loop if the socket is idle, and as soon as the socket can take more if it is busy: what was sent
meanwhile travels as one batch.  No timer is involved.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import logging
import os
import secrets
import socket
from collections.abc import Awaitable
from typing import Any, Final

from tornado.iostream import IOStream, StreamClosedError

from distributed.errors import (
    AuthenticationError,
    CommError,
    ConnectionClosedError,
    ConnectionLostError,
    LocalProtocolError,
    RemoteProtocolError,
)
from distributed.messages import Message
from distributed.wire import handshake
from distributed.wire.frames import HEAD, Limits, check_head, check_lengths, decode_batch, encode_batch

__all__ = ["Connection", "accept", "connect"]

logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S: Final = 10.0
_LARGEST_SLICE: Final = 4096
"""Messages in one batch: more are sent as several, so that encoding never holds up the loop for long."""
_SMALL_FRAME: Final = 2**16
_HIGH_WATER: Final = 2**22

# A host that vanished without a word (power, cable) is noticed within a minute.
_KEEPALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 60_000}


class Connection:
    """A stream of message batches to an authenticated peer.  Made by :func:`connect` and :func:`accept`.

    ``peer`` describes the other side for logs; ``peer_address`` and ``local_address`` are ``"ip:port"``.
    """

    def __init__(self, stream: IOStream, peer: str, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._outbox: list[Message] = []
        self._scheduled = False
        self._closed_by_us = False
        self._loop = asyncio.get_running_loop()
        self._drained: asyncio.Future[None] | None = None
        self.peer = peer
        self.peer_address = _name(stream.socket, peer=True)
        self.local_address = _name(stream.socket, peer=False)

    def __repr__(self) -> str:
        return f"<Connection {self.local_address} - {self.peer_address}{', closed' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether either side has closed the connection."""
        return self._stream.closed()

    @property
    def pending(self) -> int:
        """Messages that wait in the outbox for the socket."""
        return len(self._outbox)

    def send(self, *messages: Message) -> None:
        """Queue messages for the peer; never blocks, order is kept.

        Raises ConnectionClosedError or ConnectionLostError if the connection is closed.  Must be called on the loop.
        """
        if self._stream.closed():
            raise self._closed_error()
        self._outbox.extend(messages)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._stream.closed():
            self._outbox.clear()
            self._wake_drained()
            return
        if self._stream.writing():
            return  # _written comes back when the socket has taken what it has
        while self._outbox and not self._stream.writing():
            batch, self._outbox = self._outbox[:_LARGEST_SLICE], self._outbox[_LARGEST_SLICE:]
            self._write(batch)
        if not self._stream.writing():
            self._wake_drained()

    def _write(self, batch: list[Message]) -> None:
        try:
            pieces = encode_batch(batch)
        except LocalProtocolError as error:
            # One message that cannot be encoded must not take its neighbours with it.
            if len(batch) == 1:
                logger.error("message to %s dropped: %s", self.peer, error)
                return
            for message in batch:
                self._write([message])
            return
        written: Awaitable[None] | None = None
        with contextlib.suppress(StreamClosedError):
            for piece in pieces:
                written = self._stream.write(piece)
        if written is not None and self._stream.writing():
            asyncio.ensure_future(written).add_done_callback(self._written)

    def _written(self, future: asyncio.Future[None]) -> None:
        if not future.cancelled():
            future.exception()  # a lost connection is noticed by the reader
        self._flush()

    def _wake_drained(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self) -> None:
        """Wait until the socket has taken everything sent so far, or the connection is closed."""
        while (self._outbox or self._scheduled or self._stream.writing()) and not self._stream.closed():
            if self._drained is None or self._drained.done():
                self._drained = self._loop.create_future()
            await asyncio.wait([self._drained], timeout=1.0)

    async def read(self) -> list[Message]:
        """Return the next batch of messages.

        Raises ConnectionLostError when the peer is gone, RemoteProtocolError for what is no valid batch (the
        connection is then closed: the stream cannot be trusted any more unless the frames were sound).
        """
        try:
            head = await self._stream.read_bytes(HEAD.size)
            count, first = check_head(head, self._limits)
            lengths: list[int] = []
            if count > 1:
                lengths = check_lengths(await self._stream.read_bytes(8 * (count - 1)), first, self._limits)
            body = await self._read_frame(first)
            frames = [await self._read_frame(length) for length in lengths]
        except StreamClosedError as error:
            raise self._closed_error() from error
        except RemoteProtocolError:
            self.abort()
            raise
        return decode_batch(body, frames)

    async def _read_frame(self, length: int) -> Any:
        if length <= _SMALL_FRAME:
            return await self._stream.read_bytes(length) if length else b""
        # Into its own memory at once: what arrives here is what the user's array will stand on.
        frame = bytearray(length)
        await self._stream.read_into(frame)
        return frame

    def _closed_error(self) -> CommError:
        if self._closed_by_us:
            return ConnectionClosedError(f"the connection to {self.peer_address} was closed", address=self.peer_address)
        return ConnectionLostError(f"lost the connection to {self.peer_address}", address=self.peer_address)

    async def close(self, flush: bool = True, timeout_s: float = 5.0) -> None:
        """Close the connection, by default after what was sent is on its way.  Idempotent."""
        if flush and not self.closed:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.drain(), timeout_s)
        self.abort()

    def abort(self) -> None:
        """Close the connection now; what waits in the outbox is dropped.  Idempotent."""
        self._closed_by_us = True
        self._outbox.clear()
        self._stream.close()
        self._wake_drained()


def _name(sock: socket.socket | None, peer: bool) -> str:
    try:
        assert sock is not None
        host, port = (sock.getpeername() if peer else sock.getsockname())[:2]
    except (OSError, AssertionError):
        return "?"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tune(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _introduction(role: str) -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry for this uid
        user = str(os.getuid())
    return f"{role} {user}@{socket.gethostname()} pid {os.getpid()}"


async def accept(stream: IOStream, secret: bytes, limits: Limits | None = None) -> Connection:
    """Return the connection of a peer that has proved to hold ``secret``.

    Raises AuthenticationError (its text fit for one log line) if it has not, ConnectionLostError if it left, and
    closes the stream in both cases.  Nothing but fixed-size records is read before the proof.
    """
    address = _name(stream.socket, peer=True)
    try:
        who = await asyncio.wait_for(_listen(stream, secret), HANDSHAKE_TIMEOUT_S)
    except StreamClosedError as error:
        raise ConnectionLostError(f"{address} left before it said who it is", address=address) from error
    except asyncio.TimeoutError as error:
        stream.close()
        raise AuthenticationError(f"{address} did not say who it is", address=address) from error
    except BaseException:
        stream.close()
        raise
    assert stream.socket is not None
    _tune(stream.socket)
    return Connection(stream, f"{who} ({address})", limits or Limits())


async def _listen(stream: IOStream, secret: bytes) -> str:
    address = _name(stream.socket, peer=True)
    start = await stream.read_bytes(len(handshake.MAGIC) + 1)
    listener = handshake.Listener(secret, secrets.token_bytes(handshake.NONCE_SIZE))
    try:
        if start[: len(handshake.MAGIC)] != handshake.MAGIC:
            raise AuthenticationError(f"the peer {handshake.describe_stranger(start)}")
        hello = start + await stream.read_bytes(handshake.HELLO_SIZE - len(start))
        challenge = listener.challenge(hello)
    except AuthenticationError as error:
        # Our prefix tells a peer of another version what it met.
        with contextlib.suppress(StreamClosedError):
            if start[: len(handshake.MAGIC)] == handshake.MAGIC:
                await stream.write(handshake.Listener(secret, bytes(handshake.NONCE_SIZE)).challenge_prefix())
        raise AuthenticationError(f"refused {address}: {error}", address=address) from error
    await stream.write(challenge)
    answer = await stream.read_bytes(handshake.ANSWER_SIZE)
    if not listener.accepts(answer):
        with contextlib.suppress(StreamClosedError):
            await stream.write(handshake.REFUSED)
        raise AuthenticationError(
            f"refused {listener.who} ({address}): it holds another cluster secret", address=address
        )
    await stream.write(handshake.ACCEPTED)
    return listener.who


async def connect(
    address: str, *, secret: bytes, timeout_s: float = 10.0, role: str = "client", limits: Limits | None = None
) -> Connection:
    """Connect to ``"host:port"`` and prove to each other that both hold ``secret``.

    Raises CommError if nobody answers within ``timeout_s`` seconds or something else listens there, and
    AuthenticationError if the two sides do not belong to the same cluster.  Every text contains "connect".
    """
    stream: IOStream | None = None
    try:
        host, port = _split(address)
        stream = await asyncio.wait_for(_open(host, port), timeout_s)
        await asyncio.wait_for(_introduce(stream, secret, role, address), timeout_s)
    except BaseException as error:
        if stream is not None:
            stream.close()
        if isinstance(error, CommError) or not isinstance(error, Exception):
            raise
        raise CommError(_reason(address, error, timeout_s), address=address) from error
    assert stream.socket is not None
    _tune(stream.socket)
    return Connection(stream, address, limits or Limits())


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("an address is HOST:PORT with a port from 1 to 65535")
    return host, int(port)


def _reason(address: str, error: Exception, timeout_s: float) -> str:
    if isinstance(error, asyncio.TimeoutError):
        why = f"no answer within {timeout_s:g} s; is a firewall in between?"
    elif isinstance(error, ConnectionRefusedError):
        why = "connection refused, nothing listens there"
    elif isinstance(error, socket.gaierror):
        why = f"the host name cannot be resolved ({error.strerror})"
    elif isinstance(error, StreamClosedError):
        real = error.real_error
        why = str(real) if real is not None else "it closed the connection; is something else listening there?"
    else:
        why = str(error) or type(error).__name__
    return f"cannot connect to {address}: {why}"


async def _open(host: str, port: int) -> IOStream:
    loop = asyncio.get_running_loop()
    last: OSError = OSError("the host name has no address")
    for family, kind, proto, _, target in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, proto)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, target)
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
        else:
            return IOStream(sock, max_buffer_size=2**40)
    raise last


async def _introduce(stream: IOStream, secret: bytes, role: str, address: str) -> None:
    connector = handshake.Connector(secret, secrets.token_bytes(handshake.NONCE_SIZE), _introduction(role))
    await stream.write(connector.hello)
    try:
        answer, believed = connector.answer(await stream.read_bytes(handshake.CHALLENGE_SIZE))
    except AuthenticationError as error:
        raise AuthenticationError(f"cannot connect to {address}: {error}", address=address) from error
    await stream.write(answer)
    verdict = await stream.read_bytes(len(handshake.ACCEPTED))
    if not believed or verdict != handshake.ACCEPTED:
        raise AuthenticationError(
            f"cannot connect to {address}: it belongs to another cluster (the secrets differ); "
            "name the right one with --cluster NAME or --cluster-file FILE",
            address=address,
        )
