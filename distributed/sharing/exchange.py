"""Payloads whose large buffers stay where they are: what a process offers to its neighbours, and
what it takes from them.

Rules
- Only processes of one user on one host share.  A reader says its :func:`place`; a holder with
  the same one may answer with names of segments in place of bytes.
- The attempt decides.  A reader that cannot open what was named asks once more, for the bytes.
- Nothing is copied twice: what lies in a segment already is only named.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from distributed.capacity import memory_left
from distributed.errors import ConfigError, SharedMemoryError
from distributed.payloads import Buffer, Payload, SharedBuffer
from distributed.sharing.segments import Segment, fill, has_room, locate, open_segment

__all__ = ["MODES", "THRESHOLD", "Exchange", "Shared", "chosen_mode", "place"]

logger = logging.getLogger(__name__)

MODES: Final = ("read-only", "writable", "off")
"""What a reader gets: views, views that become its own copies page by page as it writes to them,
or bytes of its own over the network."""
VARIABLE: Final = "DLAUNCH_SHARED_MEMORY"
THRESHOLD: Final = 2**20
"""Bytes out of band from which a payload is shared: below, to copy is as quick."""
_PAUSE_S: Final = 30.0
"""So long nothing more is asked in this way of a peer that could not be understood."""
_LEAST_USED: Final = 4
"""A payload that uses less than one part in so many of a segment is copied out of it."""
_LARGEST_SHARE: Final = 0.5
"""Of the memory that is left, one copy may take so much."""


class Shared(NamedTuple):
    """A payload in two forms: as it ``travels``, and as it is ``kept`` here, in the same segments."""

    travels: Payload
    kept: Payload


def chosen_mode(mode: str | None) -> str:
    """Return ``mode``, or what the environment says, or the default.  Raises ConfigError."""
    origin, value = "shared_memory", mode
    if value is None:
        origin, value = VARIABLE, os.environ.get(VARIABLE) or MODES[0]
    if value not in MODES:
        raise ConfigError(
            f"{origin} is {value!r}: choose {', '.join(MODES[:-1])} or {MODES[-1]}",
            key="shared-memory",
            value=value,
            origin=origin,
        )
    return value


@functools.cache
def place() -> str:
    """Return what processes have in common that may share: this boot of this machine, this view of
    its processes, this user.  Empty where nothing can be shared.
    """
    if not sys.platform.startswith("linux"):
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()} {os.geteuid()}"
    except OSError:
        return ""


class Exchange:
    """One participant: a worker or a client.  ``mode``: see ``MODES``, None for the environment's.

    ``may_take``: whether this process may take so many bytes more; default: the machine decides.
    ``places``: address -> the place of that worker, as far as it was asked.
    """

    def __init__(self, mode: str | None = None, may_take: Callable[[int], bool] | None = None) -> None:
        self.mode = chosen_mode(mode)
        self._may_take = may_take
        self.places: dict[str, str] = {}
        self._resting: dict[str, float] = {}
        self._complained = False

    @property
    def place(self) -> str:
        """Where this participant is, empty if it does not share."""
        return "" if self.mode == "off" else place()

    def place_for(self, address: str, nbytes: int) -> str:
        """Return the place to tell the peer at ``address`` who is asked for ``nbytes``: empty if the
        bytes had better come.
        """
        if nbytes < THRESHOLD or self._rests(address) or not has_room():
            return ""
        return self.place

    def accepts(self, theirs: str) -> bool:
        """Whether a reader at the place ``theirs`` may be pointed at segments of ours."""
        return bool(theirs) and theirs == self.place

    # -- giving -----------------------------------------------------------------------------------

    def share(self, payload: Payload) -> Shared | None:
        """Return a payload with its large buffers in segments; None if it is small, or there is no
        memory for that.  Copies what is in no segment yet: not for the event loop.
        """
        if isinstance(payload, bytes) or not payload:
            return None
        try:
            return self._share(payload)
        except SharedMemoryError as error:
            self._complain(f"{error}; large data are sent to other processes of this host instead")
            return None

    def _share(self, payload: list[Any]) -> Shared | None:
        # The pickle itself, the first part, would be copied out of a segment again by its reader.
        buffers = [number for number, part in enumerate(payload) if number and isinstance(part, Buffer)]
        found = _located(payload, buffers)
        loose = [number for number in buffers if number not in found]
        nbytes = sum(len(payload[number]) for number in loose)
        if nbytes >= THRESHOLD:
            self._check_room(nbytes)
            segment, offsets = fill([memoryview(payload[number].data) for number in loose])
            found.update((number, (segment, offset)) for number, offset in zip(loose, offsets, strict=True))
        if not found:
            return None
        travels, kept = list(payload), list(payload)
        for number, (segment, offset) in found.items():
            length = len(payload[number])
            travels[number] = segment.named(offset, length)
            kept[number] = Buffer(segment.part(offset, length))
        return Shared(travels, kept)

    def _check_room(self, nbytes: int) -> None:
        if not has_room():
            raise SharedMemoryError("no descriptors are left for more shared memory; raise 'ulimit -n'")
        if nbytes > memory_left() * _LARGEST_SHARE or (self._may_take is not None and not self._may_take(nbytes)):
            raise SharedMemoryError(f"there is no room to copy {nbytes} bytes into shared memory")

    # -- taking -----------------------------------------------------------------------------------

    def adopt(self, payload: Payload) -> Payload:
        """Return a payload with views of the segments that it names.

        Raises SharedMemoryError if one of them cannot be opened.
        """
        if isinstance(payload, bytes) or not any(isinstance(part, SharedBuffer) for part in payload):
            return payload
        opened: dict[bytes, Segment] = {}
        return [self._opened(part, opened) if isinstance(part, SharedBuffer) else part for part in payload]

    def _opened(self, part: SharedBuffer, opened: dict[bytes, Segment]) -> Buffer:
        if part.token not in opened:
            opened[part.token] = open_segment(part, private=self.mode == "writable")
        return Buffer(opened[part.token].part(part.offset, part.length))

    def rest(self, address: str, error: SharedMemoryError) -> None:
        """Ask the peer at ``address`` for bytes for a while, because of ``error``."""
        self._resting[address] = time.monotonic() + _PAUSE_S
        self._complain(f"{error}; large data of {address} come over the network instead")

    def _rests(self, address: str) -> bool:
        if address in self._resting and time.monotonic() >= self._resting[address]:
            del self._resting[address]
        return address in self._resting

    def _complain(self, what: str) -> None:
        if not self._complained:
            self._complained = True
            logger.warning("%s (said once)", what)


def _located(payload: list[Any], buffers: list[int]) -> dict[int, tuple[Segment, int]]:
    """Return where those buffers are that lie in segments: number -> segment and offset.

    A small part of a segment is left out: whoever took it would keep all of the segment.
    """
    found: dict[int, tuple[Segment, int]] = {}
    used: Counter[bytes] = Counter()
    for number in buffers:
        if (where := locate(memoryview(payload[number].data))) is not None:
            found[number] = where
            used[where[0].token] += len(payload[number])
    return {
        number: (segment, offset)
        for number, (segment, offset) in found.items()
        if used[segment.token] * _LEAST_USED >= len(segment)
    }
