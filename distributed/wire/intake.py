"""Bytes in, batches out: what a connection does with what it receives, without its socket.

A batch that has arrived whole is handed out where it lies.  A large frame gets memory of its own as soon as its
length is known and checked, and the socket is to receive into that: what arrives there is what the user's array will
stand on.
"""

from __future__ import annotations

import contextlib
import mmap
from typing import Any, Final

from distributed.errors import RemoteProtocolError
from distributed.wire.frames import HEAD, Limits, check_head, check_lengths

__all__ = ["Intake"]

_SMALL_FRAME: Final = 2**16
_LARGE_FRAME: Final = 2**22
_HUGE_PAGE: Final = 2**21
_NOTHING: Final = memoryview(b"")


class Intake:
    """Takes bytes by :meth:`put`, or into ``gap``, and gives them back by :meth:`next`, a batch at a time.

    ``gap``: where the next bytes of a large frame belong, empty if none is under way.
    """

    def __init__(self, limits: Limits) -> None:
        self.gap = _NOTHING
        self._limits = limits
        self._data = _NOTHING
        self._sizes: list[int] = []
        """Lengths of the frames of the batch under way that have not begun to come, the next one last."""
        self._frames: list[Any] = []
        self._under_way = False

    def __len__(self) -> int:
        """Bytes that wait to be looked at."""
        return len(self._data)

    def put(self, data: memoryview) -> None:
        """Take what was received.  The memory may be used again after :meth:`keep`."""
        self._data = memoryview(b"".join((self._data, data))) if self._data else data

    def keep(self) -> None:
        """Copy what is left, so that nothing refers to memory of the caller's any more."""
        self._data = memoryview(bytes(self._data)) if self._data else _NOTHING

    def fill(self, count: int) -> None:
        """Note that so many bytes were received into ``gap``."""
        self.gap = self.gap[count:] or _NOTHING

    def clear(self) -> None:
        """Throw away all that has come."""
        self.gap = self._data = _NOTHING

    def next(self) -> tuple[Any, list[Any]] | None:
        """Return frame 0 and the other frames of the next batch, None if it is not all here.

        Frame 0 is valid until the next :meth:`put`.  Raises RemoteProtocolError for lengths over the limits, after
        which nothing can be read any more.
        """
        if not self._under_way:
            data = self._data
            if len(data) < HEAD.size:
                return None
            count, first = check_head(data[: HEAD.size], self._limits)
            end = HEAD.size + first
            if count == 1 and len(data) >= end:  # most are like this
                self._data = data[end:]
                return data[HEAD.size : end], []
            if not self._begin(count, first):
                return None
        return self._go_on()

    def _begin(self, count: int, first: int) -> bool:
        """Learn how long the frames are; return whether that is known already."""
        start = HEAD.size + 8 * (count - 1)
        if len(self._data) < start:
            return False
        self._sizes = [first]
        if count > 1:
            self._sizes += check_lengths(self._data[HEAD.size : start], first, self._limits)
        self._sizes.reverse()
        self._data = self._data[start:]
        self._under_way = True
        return True

    def _go_on(self) -> tuple[Any, list[Any]] | None:
        while self._sizes and not self.gap:
            size = self._sizes[-1]
            if size > _SMALL_FRAME:
                self._open(size)
            elif len(self._data) >= size:
                self._frames.append(bytes(self._data[:size]))
                self._data = self._data[size:]
            else:
                return None
            self._sizes.pop()
        if self.gap:
            return None
        body, *frames = self._frames
        self._frames, self._under_way = [], False
        return body, frames

    def _open(self, size: int) -> None:
        """Make room for a large frame, and put what is here of it there."""
        frame = _allocate(size)
        part = self._data[:size]
        frame[: len(part)] = part
        self._data = self._data[size:]
        self._frames.append(frame)
        self.gap = frame[len(part) :] or _NOTHING


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
