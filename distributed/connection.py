"""Framed, ordered connections, with an outbox that never delays and never grows unseen.

``Connection.send`` encodes messages and puts them into the outbox at once, in order.  The outbox is
written at the end of the current turn of the event loop if the socket is idle, and as soon as the
socket can take more if it is busy: what was sent meanwhile travels as one batch.  No timer is
involved, and an idle connection costs nothing.

What bounds the outbox towards a peer that reads slowly: senders of much wait in ``drain``; a
listener drops a peer for which more than ``outbox_limit`` bytes of messages wait; and the system
drops a peer that takes nothing at all for five minutes (``comm.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
from collections import deque
from typing import Any, Final

from tornado.iostream import IOStream, StreamClosedError

from distributed.errors import (
    CommError,
    ConnectionClosedError,
    ConnectionLostError,
    LocalProtocolError,
    RemoteProtocolError,
)
from distributed.messages import Message
from distributed.network import join_address
from distributed.wire.frames import (
    HEAD,
    Chunk,
    Decoder,
    Encoder,
    Limits,
    check_head,
    check_lengths,
    join,
)

__all__ = ["HIGH_WATER", "Connection", "socket_address"]

logger = logging.getLogger(__name__)

HIGH_WATER: Final = 2**22
"""Bytes in the outbox from which a sender of much had better wait."""

_MOST_MESSAGES: Final = 4096
_BATCH_BYTES: Final = 2**20
"""More are sent as several batches, so that decoding one never holds up the peer for long."""
_SMALL_FRAME: Final = 2**16
_LARGE_FRAME: Final = 2**22
_HUGE_PAGE: Final = 2**21
_READ_BYTES: Final = 2**18
_NOTHING: Final = memoryview(b"")


class Connection:
    """A stream of message batches to an authenticated peer; ``comm.py`` makes them.

    ``peer`` describes the other side for logs; ``peer_address`` and ``local_address`` are
    ``"ip:port"``.  Belongs to the loop that it was made on.
    """

    def __init__(
        self, stream: IOStream, peer: str, limits: Limits | None = None, outbox_limit: int | None = None
    ) -> None:
        self._stream = stream
        self._limits = limits or Limits()
        self._outbox_limit = outbox_limit
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._outbox: deque[Chunk] = deque()
        self._outbox_bytes = 0
        self._in_flight = 0
        self._body_bytes = 0
        self._scheduled = False
        self._closed_by_us = False
        self._unread: list[Message] = []
        self._ahead = _NOTHING
        self._waiters: list[asyncio.Future[None]] = []
        self._loop = asyncio.get_running_loop()
        self.sound = True
        self.peer = peer
        self.peer_address = socket_address(stream, peer=True)
        self.local_address = socket_address(stream, peer=False)
        stream.set_close_callback(self._on_close)

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Connection {self.local_address} - {self.peer_address}{state}>"

    @property
    def closed(self) -> bool:
        """Whether either side has closed the connection."""
        return self._stream.closed()

    @property
    def pending(self) -> int:
        """Messages that wait in the outbox for the socket."""
        return sum(chunk.number for chunk in self._outbox)

    @property
    def pending_bytes(self) -> int:
        """Bytes that the system has not taken yet."""
        return self._outbox_bytes + self._in_flight

    # -- sending ---------------------------------------------------------------------------------

    def send(self, *messages: Message) -> None:
        """Queue messages for the peer; never blocks, order is kept.  To be called on the loop.

        Raises LocalProtocolError, and sends none of them, if one cannot be encoded or is larger
        than a batch may be; ConnectionClosedError or ConnectionLostError if the connection is
        closed.  What a Buffer holds must not change before it is written.
        """
        if self._stream.closed():
            raise self._closed_error()
        chunks = [self._encode(part) for part in _slices(messages)]
        for chunk in chunks:
            self._outbox_bytes += chunk.nbytes
            self._body_bytes += len(chunk.body)
        self._outbox += chunks
        if self._outbox_limit is not None and self._body_bytes > self._outbox_limit:
            self._give_up()
        if not self._scheduled and not self._in_flight:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _encode(self, messages: tuple[Message, ...]) -> Chunk:
        chunk = self._encoder.encode(messages)
        # Some room for the headers; the peer would hang up on it.
        if chunk.nbytes > self._limits.batch_bytes - 64:
            raise LocalProtocolError(f"message of {chunk.nbytes} bytes, the limit is {self._limits.batch_bytes}")
        return chunk

    def _give_up(self) -> None:
        logger.warning(
            "%s does not read what it asked for: %s bytes wait for it; disconnected",
            self.peer,
            self.pending_bytes,
        )
        self.abort()
        raise ConnectionLostError(f"{self.peer_address} does not read what it asked for", address=self.peer_address)

    def _flush(self) -> None:
        self._scheduled = False
        while self._outbox and not self._in_flight and not self._stream.closed():
            self._write(self._next_batch())
        self._wake()

    def _next_batch(self) -> list[Chunk]:
        batch: list[Chunk] = []
        count = size = 0
        while self._outbox:
            chunk = self._outbox[0]
            if batch and (size + len(chunk.body) > _BATCH_BYTES or count + chunk.number > _MOST_MESSAGES):
                break
            batch.append(self._outbox.popleft())
            count += chunk.number
            size += len(chunk.body)
            if chunk.frames:  # it must be the last of its batch
                break
        self._in_flight = sum(chunk.nbytes for chunk in batch)
        self._outbox_bytes -= self._in_flight
        self._body_bytes -= size
        return batch

    def _write(self, batch: list[Chunk]) -> None:
        try:
            for piece in join(batch):
                written = self._stream.write(piece)
        except StreamClosedError:
            return  # noticed by the reader
        if self._stream.writing():
            written.add_done_callback(self._written)
        else:
            self._in_flight = 0

    def _written(self, future: asyncio.Future[None]) -> None:
        if not future.cancelled():
            future.exception()  # a lost connection is noticed by the reader
        self._in_flight = 0
        self._flush()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def drain(self, limit_bytes: int = 0) -> None:
        """Wait until at most ``limit_bytes`` wait for the socket, or the connection is closed.

        The default waits until the system has taken everything sent so far.
        """
        while self.pending_bytes > limit_bytes and not self._stream.closed():
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    # -- reading ---------------------------------------------------------------------------------

    async def read(self) -> list[Message]:
        """Return the next batch of messages.

        Raises ConnectionLostError when the peer is gone, and RemoteProtocolError for what is no
        valid batch.  After that one can go on reading if ``sound`` is still true (the frames were
        valid, their content was not).
        """
        if self._unread:
            messages, self._unread = self._unread, []
            return messages
        if not self.sound:
            raise RemoteProtocolError(f"{self.peer} sent what is no frame before")
        try:
            body, frames = await self._read_frames()
        except StreamClosedError as error:
            raise self._closed_error() from error
        except RemoteProtocolError:
            self.sound = False
            raise
        return self._decoder.decode(body, frames)

    def unread(self, messages: list[Message]) -> None:
        """Have the next ``read`` return these messages, which a ``read`` returned too early."""
        self._unread = messages + self._unread

    async def _read_frames(self) -> tuple[Any, list[Any]]:
        count, first = check_head(await self._read(HEAD.size), self._limits)
        if count == 1:
            return await self._read_body(first), []
        sizes = check_lengths(await self._read(8 * (count - 1)), first, self._limits)
        body = await self._read_body(first)
        return body, [await self._read_frame(size) for size in sizes]

    async def _read(self, length: int) -> memoryview:
        """Return the next bytes, a few at most: what the system has is taken in one go."""
        while len(self._ahead) < length:
            data = await self._stream.read_bytes(_READ_BYTES, partial=True)
            self._ahead = memoryview(b"".join((self._ahead, data)) if self._ahead else data)
        return self._take(length)

    def _take(self, length: int) -> memoryview:
        taken, rest = self._ahead[:length], self._ahead[length:]
        # An empty view would keep all that was read alive.
        self._ahead = rest or _NOTHING
        return taken

    async def _read_body(self, length: int) -> memoryview:
        return await (self._read if length <= _SMALL_FRAME else self._read_frame)(length)

    async def _read_frame(self, length: int) -> Any:
        if length <= _SMALL_FRAME:
            return bytes(await self._read(length))
        # Into its own memory at once: what arrives here is what the user's array will stand on.
        frame = _allocate(length)
        part = self._take(length)
        frame[: len(part)] = part
        if rest := frame[len(part) :]:
            await self._stream.read_into(rest)  # type: ignore[arg-type]
        return frame

    # -- the end ---------------------------------------------------------------------------------

    def _closed_error(self) -> CommError:
        address = self.peer_address
        if self._closed_by_us:
            return ConnectionClosedError(f"the connection to {address} was closed", address=address)
        return ConnectionLostError(f"lost the connection to {address}", address=address)

    def _on_close(self) -> None:
        self._outbox.clear()
        self._outbox_bytes = self._body_bytes = self._in_flight = 0
        self._wake()

    async def close(self, flush: bool = True, timeout_s: float = 5.0) -> None:
        """Close the connection, by default after what was sent is on its way.  Idempotent."""
        try:
            if flush and self.pending_bytes and not self.closed:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.drain(), timeout_s)
        finally:
            self.abort()

    async def linger(self, timeout_s: float = 1.0) -> None:
        """Flush, then throw away what the peer still sends until it leaves.

        Closing with bytes unread would reset the connection, and with it our last words.
        """
        with contextlib.suppress(asyncio.TimeoutError, StreamClosedError):
            await asyncio.wait_for(self._swallow(), timeout_s)

    async def _swallow(self) -> None:
        await self.drain()
        while True:
            await self._stream.read_bytes(_SMALL_FRAME, partial=True)

    def abort(self) -> None:
        """Close the connection now; what waits in the outbox is dropped.  Idempotent."""
        if not self._stream.closed():
            self._closed_by_us = True
        sock = self._stream.socket
        try:
            self._stream.close()
        except RuntimeError:  # the loop is closed already
            sock.close()


def _slices(messages: tuple[Message, ...]) -> list[tuple[Message, ...]]:
    if len(messages) <= _MOST_MESSAGES:
        return [messages] if messages else []
    starts = range(0, len(messages), _MOST_MESSAGES)
    return [messages[start : start + _MOST_MESSAGES] for start in starts]


def _allocate(length: int) -> memoryview:
    """Memory for a frame; raises RemoteProtocolError if there is none."""
    try:
        if length < _LARGE_FRAME:
            return memoryview(bytearray(length))
        # Pages of a map come when they are written: no time to clear them, and a peer that
        # announces much and sends little costs nothing.  Private and huge: to fault in small ones,
        # or shared ones, takes longer than to receive what is put into them.
        pages = mmap.mmap(-1, length + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (MemoryError, OSError, OverflowError) as error:
        raise RemoteProtocolError(f"frame of {length} bytes: there is not so much memory") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(pages)[:length]


def socket_address(stream: IOStream, *, peer: bool) -> str:
    """Return ``"ip:port"`` of one end of a stream, ``"?"`` if it is closed or no internet socket."""
    sock = stream.socket
    try:
        host, port = (sock.getpeername() if peer else sock.getsockname())[:2]
    except (OSError, AttributeError, ValueError):
        return "?"
    return join_address(host, port)
