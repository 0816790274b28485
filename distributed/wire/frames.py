"""Batches of messages as frames.

A batch on the wire, integers little-endian::

    u32 count | u64 length of frame 0 | u64 lengths of frames 1 .. count-1 | frame 0 | frame 1 | ...

Frame 0 is the msgpack of a list of messages.  Each further frame is one
:class:`~distributed.payloads.Buffer`, named in frame 0 by its number (msgpack extension type 1), so
that large data are neither copied into the message on the way out nor out of it on the way in.
What lies in shared memory is only named (:class:`~distributed.messages.SharedBuffer`, type 3).
All lengths are known, and checked against :class:`Limits`, before anything is allocated.

Messages are encoded when they are sent, not when the socket takes them: the sender learns at once
what cannot be encoded, may change what it sent afterwards, and knows how many bytes wait.  What
one call of :meth:`Encoder.encode` made is a :class:`Chunk`; a batch is one chunk or several.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from distributed.errors import LocalProtocolError, RemoteProtocolError
from distributed.messages import Message
from distributed.payloads import Buffer, SharedBuffer

__all__ = [
    "HEAD",
    "Chunk",
    "Decoder",
    "Encoder",
    "Limits",
    "check_head",
    "check_lengths",
    "decode_batch",
    "encode_batch",
    "join",
]

HEAD = struct.Struct("<IQ")
_EXT_FRAME: Final = 1
"""The number of a frame, in 4 bytes."""
_EXT_INLINE: Final = 2
"""The bytes of a Buffer themselves."""
_EXT_SHARED: Final = 3
"""Where a SharedBuffer is."""
_SHARED = struct.Struct("<IIQQQ16s")

_MOST_FRAMES: Final = 16384
"""Buffers of one chunk that get a frame of their own; those beyond travel inside frame 0."""


class Limits(NamedTuple):
    """What a peer may send in one batch.  ``frames``: a count; ``batch_bytes``: all together."""

    frames: int = 65536
    batch_bytes: int = 2**40


class Chunk(NamedTuple):
    """Encoded messages: ``number`` of them in ``body``, with the ``frames`` that it names.

    ``nbytes``: all together.
    """

    number: int
    body: memoryview
    frames: list[memoryview]
    nbytes: int


class Encoder:
    """Encodes messages and puts their Buffers aside as frames.  For one thread."""

    def __init__(self) -> None:
        self._frames: list[memoryview] = []
        self._encode = msgspec.msgpack.Encoder(enc_hook=self._hook).encode

    def _hook(self, value: object) -> object:
        if isinstance(value, SharedBuffer):
            return msgspec.msgpack.Ext(_EXT_SHARED, _pack_shared(value))
        if not isinstance(value, Buffer):
            raise TypeError(f"a message cannot hold a {type(value).__name__}")
        frame = memoryview(value.data).cast("B")
        if len(self._frames) >= _MOST_FRAMES:
            return msgspec.msgpack.Ext(_EXT_INLINE, bytes(frame))
        self._frames.append(frame)
        return msgspec.msgpack.Ext(_EXT_FRAME, len(self._frames).to_bytes(4, "little"))

    def encode(self, messages: Sequence[Message]) -> Chunk:
        """Return messages as a chunk.

        Raises LocalProtocolError for a value that msgpack cannot carry.
        """
        self._frames = []
        try:
            encoded = self._encode(messages)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise LocalProtocolError(f"message that cannot be encoded: {error}") from error
        frames, self._frames = self._frames, []
        body = memoryview(encoded)[len(_list_header(len(messages))) :]
        nbytes = len(body) + sum(map(len, frames)) if frames else len(body)
        return Chunk(len(messages), body, frames, nbytes)


def _pack_shared(value: SharedBuffer) -> bytes:
    return _SHARED.pack(value.pid, value.fd, value.size, value.offset, value.length, value.token)


def _unpack_shared(data: memoryview) -> SharedBuffer:
    if len(data) != _SHARED.size:
        raise ValueError(f"extension {_EXT_SHARED} of {len(data)} bytes")
    pid, fd, size, offset, length, token = _SHARED.unpack(data)
    return SharedBuffer(pid, fd, size, token, offset, length)


def _list_header(count: int) -> bytes:
    """The bytes before the items of a msgpack list."""
    if count < 16:
        return bytes([0x90 | count])
    return struct.pack(">BH", 0xDC, count) if count < 2**16 else struct.pack(">BI", 0xDD, count)


def join(chunks: Sequence[Chunk]) -> list[Any]:
    """Return the bytes-like pieces of a batch: header and frame 0 in one, then the buffers.

    Only the last chunk may have frames, because the numbers of frames count from 1 in a batch.
    """
    frames = chunks[-1].frames
    header = _list_header(sum(chunk.number for chunk in chunks))
    first = len(header) + sum(len(chunk.body) for chunk in chunks)
    head = HEAD.pack(1 + len(frames), first)
    if frames:
        head += struct.pack(f"<{len(frames)}Q", *map(len, frames))
    start = b"".join([head, header, *[chunk.body for chunk in chunks]])
    return [start, *[frame for frame in frames if frame]]


class Decoder:
    """Typed msgpack decoder that puts frames back in the place of their numbers.  For one thread."""

    def __init__(self) -> None:
        self._frames: Sequence[Any] = ()
        self._decode = msgspec.msgpack.Decoder(list[Message], ext_hook=self._hook).decode

    def _hook(self, code: int, data: memoryview) -> object:
        if code == _EXT_INLINE:
            return Buffer(bytes(data))
        if code == _EXT_SHARED:
            return _unpack_shared(data)
        number = int.from_bytes(data, "little")
        if code != _EXT_FRAME or not 1 <= number <= len(self._frames):
            raise ValueError(f"extension {code} names frame {number} of {len(self._frames)}")
        return Buffer(self._frames[number - 1])

    def decode(self, body: Any, frames: Sequence[Any] = ()) -> list[Message]:
        """Return the messages of frame 0 (bytes-like) with ``frames`` (bytes-like) in place.

        Raises RemoteProtocolError.
        """
        self._frames = frames
        try:
            return self._decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError, TypeError) as error:
            raise RemoteProtocolError(f"not a valid message: {error}") from error
        finally:
            self._frames = ()


def encode_batch(batch: Sequence[Message]) -> list[Any]:
    """Return the pieces of a batch, for callers that send but one; raises LocalProtocolError."""
    return join([Encoder().encode(batch)])


def decode_batch(body: Any, frames: Sequence[Any] = ()) -> list[Message]:
    """Return the messages of a batch, for callers that read but one; raises RemoteProtocolError."""
    return Decoder().decode(body, frames)


def check_head(head: Any, limits: Limits) -> tuple[int, int]:
    """Return ``(frame count, length of frame 0)`` of a header.

    Raises RemoteProtocolError if they are over the limits.
    """
    count, first = HEAD.unpack(head)
    if not 1 <= count <= limits.frames:
        raise RemoteProtocolError(f"batch of {count} frames, the limit is {limits.frames}")
    if first > limits.batch_bytes:
        raise RemoteProtocolError(f"batch of {first} bytes, the limit is {limits.batch_bytes}")
    return count, first


def check_lengths(data: Any, first: int, limits: Limits) -> list[int]:
    """Return the lengths of frames 1 and up.

    Raises RemoteProtocolError if the batch is over the limit.
    """
    lengths = list(struct.unpack(f"<{len(data) // 8}Q", data))
    if (total := first + sum(lengths)) > limits.batch_bytes:
        raise RemoteProtocolError(f"batch of {total} bytes, the limit is {limits.batch_bytes}")
    return lengths
