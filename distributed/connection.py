"""Framed, ordered connections, with an outbox that never delays and never grows unseen.

``Connection.send`` encodes messages and puts them into the outbox at once, in order.  The outbox is
written at the end of the current turn (``poller.py``) if the socket is idle, and as soon as the
socket can take more if it is busy: what was sent meanwhile travels as one batch.  No timer is
involved, and an idle connection costs nothing.

What arrives is read batch by batch with ``read``, or goes to a function as soon as it is there:
``follow``, which costs a message far less.

What bounds the outbox towards a peer that reads slowly: senders of much wait in ``drain``; a
listener drops a peer for which more than ``outbox_limit`` bytes of messages wait; and the system
drops a peer that takes nothing at all for five minutes (``comm.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from distributed.errors import (
    CommError,
    ConnectionClosedError,
    ConnectionLostError,
    LocalProtocolError,
    RemoteProtocolError,
)
from distributed.messages import Message
from distributed.network import join_address
from distributed.poller import READ, WRITE, Poller
from distributed.wire.frames import Chunk, Decoder, Encoder, Limits, join
from distributed.wire.intake import Intake

__all__ = ["HIGH_WATER", "Connection", "socket_address"]

logger = logging.getLogger(__name__)

HIGH_WATER: Final = 2**22
"""Bytes in the outbox from which a sender of much had better wait."""

_MOST_MESSAGES: Final = 4096
_BATCH_BYTES: Final = 2**20
"""More are sent as several batches, so that decoding one never holds up the peer for long."""
_UNREAD_BYTES: Final = 2**16
"""So much is taken from the system though nobody reads: to wait for it is to notice the peer's end."""
_MOST_RECEIVES: Final = 16
"""In one turn."""
_MUCH_BYTES: Final = 2**16
_MOST_PIECES: Final = 64


class Connection:
    """A stream of message batches to an authenticated peer; ``comm.py`` makes them.

    ``peer`` describes the other side for logs; ``peer_address`` and ``local_address`` are
    ``"ip:port"``.  Belongs to the loop that it was made on.
    """

    def __init__(
        self, sock: socket.socket, peer: str, limits: Limits | None = None, outbox_limit: int | None = None
    ) -> None:
        self._sock = sock
        self._limits = limits or Limits()
        self._outbox_limit = outbox_limit
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._outbox: deque[Chunk] = deque()
        self._outbox_bytes = 0
        self._body_bytes = 0
        self._pieces: list[Any] = []
        """What the socket has not taken yet of the batch under way, which has ``_in_flight`` bytes."""
        self._in_flight = 0
        self._flush_due = False
        self._is_open = True
        self._is_deaf = False
        self._closed_by_us = False
        self._intake = Intake(self._limits)
        self._unread: list[Message] = []
        self._reader: asyncio.Future[None] | None = None
        self._take: Callable[[list[Message]], None] | None = None
        self._end: asyncio.Future[None] | None = None
        self._swallows = False
        self._waiters: list[asyncio.Future[None]] = []
        self._poller = Poller.current()
        self._loop = asyncio.get_running_loop()
        self._watched_for = 0
        self.sound = True
        self.peer = peer
        self.peer_address = socket_address(sock, peer=True)
        self.local_address = socket_address(sock, peer=False)
        sock.setblocking(False)
        self._watch(READ)

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Connection {self.local_address} - {self.peer_address}{state}>"

    @property
    def closed(self) -> bool:
        """Whether either side has closed the connection."""
        return self._is_deaf or not self._is_open

    @property
    def poller(self) -> Poller:
        """What watches its socket, for whoever has something to do at the end of a turn."""
        return self._poller

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
        if self._is_deaf or not self._is_open:
            raise self._closed_error()
        chunks = [self._encode(part) for part in _slices(messages)]
        for chunk in chunks:
            self._outbox_bytes += chunk.nbytes
            self._body_bytes += len(chunk.body)
        self._outbox += chunks
        if self._outbox_limit is not None and self._body_bytes > self._outbox_limit:
            self._give_up()
        if not self._flush_due and not self._pieces:
            self._flush_due = True
            self._poller.at_end(self._flush)

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
        self._flush_due = False
        while self._outbox and not self._pieces:
            self._pieces = join(self._next_batch())
            self._write()
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

    def _write(self) -> None:
        """Give the system what it takes of the pieces under way."""
        pieces = self._pieces
        try:
            while pieces:
                one = len(pieces) == 1
                taken = self._sock.send(pieces[0]) if one else self._sock.sendmsg(pieces[:_MOST_PIECES])
                whole = 0
                while whole < len(pieces) and taken >= len(pieces[whole]):
                    taken -= len(pieces[whole])
                    whole += 1
                del pieces[:whole]
                if taken:
                    pieces[0] = memoryview(pieces[0])[taken:]
        except (BlockingIOError, InterruptedError):
            self._watch(self._watched_for | WRITE)
        except OSError:
            self._stop_writing()
        else:
            self._in_flight = 0

    def _stop_writing(self) -> None:
        """The peer takes nothing any more.  What it said before that is still to be read, and then its end."""
        self._is_deaf = True
        self._drop_outbox()
        self._watch(self._watched_for & ~WRITE)

    def _drop_outbox(self) -> None:
        self._outbox.clear()
        self._pieces = []
        self._outbox_bytes = self._body_bytes = self._in_flight = 0
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def drain(self, limit_bytes: int = 0) -> None:
        """Wait until at most ``limit_bytes`` wait for the socket, or the connection is closed.

        The default waits until the system has taken everything sent so far.
        """
        while self.pending_bytes > limit_bytes and self._is_open:
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
        while (batch := self._next()) is None:
            if not self._is_open:
                raise self._closed_error()
            self._watch(self._watched_for | READ)
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return batch

    async def follow(self, take: Callable[[list[Message]], None]) -> None:
        """Call ``take`` with each batch as soon as it is here, until the connection ends; never return.

        Raises the same as ``read``, and then nothing is taken any more, and what ``take`` raises.
        """
        if self._unread:
            take(await self.read())
        end = self._end = self._loop.create_future()
        self._take = take
        try:
            self._hand_out()
            self._intake.keep()
            if not self._is_open and not end.done():
                raise self._closed_error()
            self._watch(self._watched_for | READ)
            await end
        finally:
            self._take = self._end = None

    def unread(self, messages: list[Message]) -> None:
        """Have the next ``read`` return these messages, which a ``read`` returned too early."""
        self._unread = messages + self._unread

    def _next(self) -> list[Message] | None:
        """Return the next batch, None if it is not all here; raises RemoteProtocolError."""
        if not self.sound:
            raise RemoteProtocolError(f"{self.peer} sent what is no frame before")
        try:
            found = self._intake.next()
        except RemoteProtocolError:
            self.sound = False
            raise
        return self._decoder.decode(*found) if found is not None else None

    def _hand_out(self) -> None:
        """Give what is here to the one who follows."""
        try:
            while self._take is not None and (batch := self._next()) is not None:
                self._take(batch)
        except Exception as error:  # noqa: BLE001 - it is raised where ``follow`` was called
            self._take = None
            if self._end is not None and not self._end.done():
                self._end.set_exception(error)

    def ready(self, events: int) -> None:
        """Receive, or send what waits (called by the poller)."""
        if events & WRITE and self._pieces:
            self._write()
            if not self._pieces and self._is_open:
                self._watch(self._watched_for & ~WRITE)
                self._flush()
        if events & ~WRITE:
            for _ in range(_MOST_RECEIVES):
                # Who sends much is heard out, so that there is one decision about all of it.
                if not self._watched_for & READ or self._receive() < _MUCH_BYTES or self._take is None:
                    break

    def _receive(self) -> int:
        """Receive once; return how many bytes came."""
        intake = self._intake
        try:
            count = self._fill_gap() if intake.gap else self._fill_buffer()
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            count = 0
        if not count:
            self._shut()
        elif self._swallows:
            intake.clear()
        elif self._take is not None:
            self._hand_out()
            intake.keep()
        elif not intake.gap:
            intake.keep()
            if self._reader is not None:
                if not self._reader.done():
                    self._reader.set_result(None)
            elif len(intake) > _UNREAD_BYTES:
                self._watch(self._watched_for & ~READ)
        return count

    def _fill_buffer(self) -> int:
        """Receive into memory that is everybody's; return how many bytes came."""
        count = self._sock.recv_into(self._poller.buffer)
        self._intake.put(self._poller.buffer[:count])
        return count

    def _fill_gap(self) -> int:
        """Receive the rest of a large frame, or a good part; return how many bytes came."""
        intake, total = self._intake, 0
        for _ in range(_MOST_RECEIVES):
            try:
                count = self._sock.recv_into(intake.gap)
            except (BlockingIOError, InterruptedError):
                if not total:
                    raise
                break
            if not count:
                break  # its end; if something came before it, the next turn finds it again
            intake.fill(count)
            total += count
            if not intake.gap:
                break
        return total

    def _watch(self, events: int) -> None:
        if events != self._watched_for and self._is_open:
            self._poller.watch(self._sock.fileno(), self, events, self._watched_for)
            self._watched_for = events

    # -- the end ---------------------------------------------------------------------------------

    def _closed_error(self) -> CommError:
        address = self.peer_address
        if self._closed_by_us:
            return ConnectionClosedError(f"the connection to {address} was closed", address=address)
        return ConnectionLostError(f"lost the connection to {address}", address=address)

    def _shut(self) -> None:
        """Close the socket and tell all who wait.  Whole batches that have arrived can still be read."""
        self._watch(0)
        self._is_open = False
        self._sock.close()
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._drop_outbox()
            if self._reader is not None and not self._reader.done():
                self._reader.set_result(None)
            if self._end is not None and not self._end.done():
                self._end.set_exception(self._closed_error())

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
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._swallow(), timeout_s)

    async def _swallow(self) -> None:
        await self.drain()
        self._swallows = True
        self._intake.clear()
        self._watch(self._watched_for | READ)
        while self._is_open:
            self._reader = self._loop.create_future()
            await self._reader

    def abort(self) -> None:
        """Close the connection now; what waits in the outbox is dropped.  Idempotent."""
        if self._is_open:
            self._closed_by_us = True
            self._shut()


def _slices(messages: tuple[Message, ...]) -> list[tuple[Message, ...]]:
    if len(messages) <= _MOST_MESSAGES:
        return [messages] if messages else []
    starts = range(0, len(messages), _MOST_MESSAGES)
    return [messages[start : start + _MOST_MESSAGES] for start in starts]


def socket_address(sock: socket.socket, *, peer: bool) -> str:
    """Return ``"ip:port"`` of one end of a socket, ``"?"`` if it is closed or no internet socket."""
    try:
        host, port = (sock.getpeername() if peer else sock.getsockname())[:2]
    except (OSError, ValueError):
        return "?"
    return join_address(host, port)
