"""Batches of messages as frames.

A batch on the wire, integers little-endian::

    u32 count | u64 length of frame 0 | u64 lengths of frames 1 .. count-1 | frame 0 | frame 1 | ...

Frame 0 is the msgpack of a list of messages.  Each further frame is one :class:`~distributed.messages.Buffer`, named
in frame 0 by its number (msgpack extension type 1), so that large data are neither copied into the message on the
way out nor out of it on the way in.  All lengths are known, and checked against :class:`Limits`, before anything is
allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from distributed.errors import LocalProtocolError, RemoteProtocolError
from distributed.messages import Buffer, Message

__all__ = ["HEAD", "Limits", "check_head", "check_lengths", "decode_batch", "encode_batch"]

HEAD = struct.Struct("<IQ")
_EXT_BUFFER = 1


class Limits(NamedTuple):
    """What a peer may send in one batch.  ``frames``: a count; ``batch_bytes``: all frames together."""

    frames: int = 65536
    batch_bytes: int = 2**36


class _Encoder:
    """msgpack encoder that puts Buffers aside as frames."""

    def __init__(self) -> None:
        self._frames: list[Any] = []
        self._encode = msgspec.msgpack.Encoder(enc_hook=self._hook).encode

    def _hook(self, value: object) -> object:
        if isinstance(value, Buffer):
            self._frames.append(value.data)
            return msgspec.msgpack.Ext(_EXT_BUFFER, len(self._frames).to_bytes(4, "little"))
        raise TypeError(f"a message cannot hold a {type(value).__name__}")

    def encode(self, batch: Sequence[Any]) -> tuple[bytes, list[Any]]:
        self._frames = []
        try:
            return self._encode(batch), self._frames
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise LocalProtocolError(f"message that cannot be encoded: {error}") from error


class _Decoder:
    """Typed msgpack decoder that puts frames back in the place of their numbers."""

    def __init__(self) -> None:
        self._frames: Sequence[Any] = ()
        self._decode = msgspec.msgpack.Decoder(list[Message], ext_hook=self._hook).decode

    def _hook(self, code: int, data: memoryview) -> object:
        number = int.from_bytes(data, "little")
        if code != _EXT_BUFFER or not 1 <= number <= len(self._frames):
            raise ValueError(f"extension {code} names frame {number} of {len(self._frames)}")
        return Buffer(self._frames[number - 1])

    def decode(self, body: bytes, frames: Sequence[Any]) -> list[Message]:
        self._frames = frames
        try:
            return self._decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError, TypeError) as error:
            raise RemoteProtocolError(f"not a valid message: {error}") from error
        finally:
            self._frames = ()


def encode_batch(batch: Sequence[Message]) -> list[Any]:
    """Return the bytes-like pieces of a batch: header and frame 0 in one piece, then the buffers as they are.

    Raises LocalProtocolError for a value that msgpack cannot carry.
    """
    # An encoder a call: cheap beside a batch, and safe from any thread.
    body, frames = _Encoder().encode(batch)
    head = HEAD.pack(1 + len(frames), len(body))
    if not frames:
        return [head + body]
    views = [memoryview(frame).cast("B") for frame in frames]
    lengths = struct.pack(f"<{len(views)}Q", *[view.nbytes for view in views])
    return [head + lengths + body, *[view for view in views if view.nbytes]]


def check_head(head: bytes, limits: Limits) -> tuple[int, int]:
    """Return ``(frame count, length of frame 0)`` of a header, or raise RemoteProtocolError if over the limits."""
    count, first = HEAD.unpack(head)
    if not 1 <= count <= limits.frames:
        raise RemoteProtocolError(f"batch of {count} frames, the limit is {limits.frames}")
    if first > limits.batch_bytes:
        raise RemoteProtocolError(f"batch of {first} bytes, the limit is {limits.batch_bytes}")
    return count, first


def check_lengths(data: bytes, first: int, limits: Limits) -> list[int]:
    """Return the lengths of frames 1 and up, or raise RemoteProtocolError if the batch is over the limit."""
    lengths = list(struct.unpack(f"<{len(data) // 8}Q", data))
    if (total := first + sum(lengths)) > limits.batch_bytes:
        raise RemoteProtocolError(f"batch of {total} bytes, the limit is {limits.batch_bytes}")
    return lengths


def decode_batch(body: bytes, frames: Sequence[Any] = ()) -> list[Message]:
    """Return the messages of frame 0 with ``frames`` (bytes-like) in place; raises RemoteProtocolError."""
    return _Decoder().decode(body, frames)
