"""Segments: pieces of memory that other processes of this user on this host can map.

A segment is a file without a name: a memfd, or where there are none an unnamed file on
``/dev/shm``.  It exists as long as some process holds a descriptor or a mapping of it, so it
cannot outlive its users, however they end.  Who knows process and descriptor opens it through
``/proc/PID/fd``, which the system allows to the same user only; the file itself has mode 0600.

    bytes of the parts, each at a multiple of 64 | token (16 random bytes)

The token is what the reader compares: a process id or a descriptor may mean something else by the
time that it looks.
"""

from __future__ import annotations

import _thread
import contextlib
import fcntl
import mmap
import os
import resource
import secrets
import stat
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

from distributed.errors import SharedMemoryError
from distributed.payloads import Buffer, Payload, SharedBuffer
from distributed.sharing.memory import address_of, libc

__all__ = ["Segment", "fill", "has_room", "in_segments", "live", "locate", "make_room", "open_segment", "populate_all"]

ALIGNMENT: Final = 64
TOKEN_BYTES: Final = 16
NAME: Final = "dlaunch"
_SHARED_FOLDER: Final = "/dev/shm"  # noqa: S108 - a file without a name, not one that others could guess
_MFD_CLOEXEC: Final = 1
_MFD_ALLOW_SEALING: Final = 2
_SEAL_SEAL_SHRINK_GROW: Final = 1 | 2 | 4
_SEAL_WRITE: Final = 8
_SEAL_FUTURE_WRITE: Final = 16
_LARGEST_WRITE: Final = 2**30
_SLOW_TO_FREE: Final = 2**24
_MAP_GOES_S: Final = 0.1
_POPULATE_READ: Final = 22
_ON_LINUX: Final = sys.platform.startswith("linux")


class Segment(mmap.mmap):
    """A mapped segment; a ``memoryview`` of it keeps it.

    ``fd``: a descriptor through which others can open it; ``token``; ``start``: its address;
    ``is_private``: written pages are copies of this process's own, so that others must not be
    pointed at it; ``populated``: whether its pages are known to be mapped.
    """

    fd: int = -1
    token: bytes = b""
    start: int = 0
    is_private: bool = False
    populated: bool = False

    def __del__(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            _close(fd, len(self))

    def part(self, offset: int, length: int) -> memoryview:
        """Return a view of ``length`` bytes from ``offset`` on, read-only unless it is private.

        Raises SharedMemoryError if the segment is shorter.
        """
        if offset + length > len(self) - TOKEN_BYTES:
            raise SharedMemoryError(f"{length} bytes at {offset} are more than a segment of {len(self)} bytes holds")
        view = memoryview(self)[offset : offset + length]
        return view if self.is_private else view.toreadonly()

    def named(self, offset: int, length: int) -> SharedBuffer:
        """Return what another process needs to open a part of it."""
        return SharedBuffer(os.getpid(), self.fd, len(self), self.token, offset, length)

    def populate(self) -> None:
        """Map all pages, so that the system counts this process among those that hold them."""
        self.populated = True
        try:
            self.madvise(_POPULATE_READ)
        except OSError:  # older than Linux 5.14: look at a byte of each
            memoryview(self)[:: mmap.PAGESIZE].tobytes()


def _close(fd: int, nbytes: int) -> None:
    """Close a descriptor of a segment.  Not here, if that may free much: 1 GB takes 60 ms."""
    if nbytes >= _SLOW_TO_FREE:
        # Not by threading: this runs whenever the last view dies, maybe within a lock of that.
        with contextlib.suppress(RuntimeError):  # no more threads at the end of the interpreter
            _thread.start_new_thread(_close_later, (fd,))
            return
    with contextlib.suppress(OSError):
        os.close(fd)


def _close_later(fd: int) -> None:
    # The map goes right after this began; whoever lets go last has to free the pages.
    time.sleep(_MAP_GOES_S)
    _close(fd, 0)


_known: WeakValueDictionary[bytes, Segment] = WeakValueDictionary()
_lock = threading.Lock()


def live() -> list[Segment]:
    """Return the segments mapped in this process that others may be pointed at."""
    with _lock:
        return list(_known.values())


def populate_all() -> None:
    """Map all pages of all segments that are new since the last time."""
    for segment in live():
        if not segment.populated:
            segment.populate()


def _remember(segment: Segment) -> None:
    segment.start = address_of(segment)
    with _lock:
        _known[segment.token] = segment


def has_room() -> bool:
    """Whether this process has descriptors left for more segments, each of which takes two."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit == resource.RLIM_INFINITY or len(_known) < limit // 4


def locate(view: memoryview) -> tuple[Segment, int] | None:
    """Return the segment that a buffer lies in, and its offset there; None if it is in none."""
    segments = live()
    if not segments:
        return None
    start = address_of(view)
    end = start + view.nbytes
    for segment in segments:
        if segment.start <= start and end <= segment.start + len(segment) - TOKEN_BYTES:
            return segment, start - segment.start
    return None


def in_segments(payload: Payload) -> bool:
    """Whether buffers of a payload lie in segments that others can map."""
    if isinstance(payload, bytes):
        return False
    segments = (getattr(part.data, "obj", None) for part in payload if isinstance(part, Buffer))
    return any(isinstance(segment, Segment) and not segment.is_private for segment in segments)


# -- making -------------------------------------------------------------------------------------


def fill(views: Sequence[memoryview]) -> tuple[Segment, list[int]]:
    """Return a segment that holds copies of these buffers, and the offset of each.

    Nobody can write to it any more.  Raises SharedMemoryError.
    """
    token = secrets.token_bytes(TOKEN_BYTES)
    offsets = []
    file = _new_file()
    try:
        end = 0
        for view in views:
            offsets.append(end)
            # Not through a map: the system would have to fault in each page, and a full file
            # system would end the process by SIGBUS instead of this call by an error.
            end = _aligned(_write(file, view.cast("B"), end))
        _write(file, memoryview(token), end)
        return _finish(file, token, writable=False), offsets
    except (OSError, ValueError) as error:
        raise SharedMemoryError(f"cannot put data into shared memory: {error}") from error
    finally:
        os.close(file)


def make_room(nbytes: int) -> Segment:
    """Return a segment with ``nbytes`` of zeros to write to; only this mapping can.

    Raises SharedMemoryError.
    """
    token = secrets.token_bytes(TOKEN_BYTES)
    file = _new_file()
    try:
        end = _aligned(nbytes)
        os.posix_fallocate(file, 0, end + TOKEN_BYTES)
        _write(file, memoryview(token), end)
        return _finish(file, token, writable=True)
    except (OSError, ValueError) as error:
        raise SharedMemoryError(f"cannot make {nbytes} bytes of shared memory: {error}") from error
    finally:
        os.close(file)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _write(file: int, view: memoryview, position: int) -> int:
    """Write all of a view; return where it ends."""
    done = 0
    while done < len(view):
        done += os.pwrite(file, view[done : done + _LARGEST_WRITE], position + done)
    return position + done


def _finish(file: int, token: bytes, *, writable: bool) -> Segment:
    seals = _SEAL_SEAL_SHRINK_GROW | (_SEAL_FUTURE_WRITE if writable else _SEAL_WRITE)
    os.fchmod(file, 0o600)
    # Older kernels map a file sealed against writing only through a descriptor that cannot write.
    reader = os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        segment = _map(file if writable else reader, os.fstat(file).st_size, writable=writable)
        with contextlib.suppress(OSError):  # an unnamed file has no seals, an old kernel not all
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
        segment.token = token
        segment.fd, reader = reader, -1
    finally:
        if reader >= 0:
            os.close(reader)
    _remember(segment)
    return segment


def _new_file() -> int:
    """Return a descriptor of a new file without a name.  Raises SharedMemoryError."""
    if not _ON_LINUX:
        raise SharedMemoryError("this system has no shared memory without names")
    try:
        return _memfd()
    except OSError as error:
        problem = error
    try:
        return _unnamed_file()
    except OSError:
        raise SharedMemoryError(f"cannot make a segment of shared memory: {problem}") from problem


def _memfd() -> int:
    flags = _MFD_CLOEXEC | _MFD_ALLOW_SEALING
    if hasattr(os, "memfd_create"):
        return os.memfd_create(NAME, flags)
    # A Python built for old systems lacks it, the C library of this one may have it.
    return libc("memfd_create", NAME.encode(), flags)


def _unnamed_file() -> int:
    return os.open(_SHARED_FOLDER, os.O_TMPFILE | os.O_RDWR | os.O_EXCL | os.O_CLOEXEC, 0o600)


# -- opening ------------------------------------------------------------------------------------


def open_segment(part: SharedBuffer, *, private: bool = False) -> Segment:
    """Return the segment that a part names, mapped: for reading, or ``private`` for writing.

    Writing to a private one is copying the page and seen by nobody else.  Raises SharedMemoryError
    if it cannot be opened, is of another user, or is not the one that was meant.
    """
    if not private and (known := _known.get(part.token)) is not None:
        return known
    try:
        fd = os.open(f"/proc/{part.pid}/fd/{part.fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise SharedMemoryError(f"cannot open the shared memory of process {part.pid}: {error.strerror}") from error
    try:
        _check(fd, part)
        segment = _map(fd, part.size, private=private)
    except (OSError, ValueError) as error:
        os.close(fd)
        raise SharedMemoryError(f"cannot map the shared memory of process {part.pid}: {error}") from error
    except SharedMemoryError:
        os.close(fd)
        raise
    segment.token = part.token
    if private:
        os.close(fd)
        segment.is_private = True
        return segment
    segment.fd = fd
    _remember(segment)
    return segment


def _check(fd: int, part: SharedBuffer) -> None:
    about = os.fstat(fd)
    mine = stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o077
    if not mine or about.st_size != part.size or part.size < TOKEN_BYTES:
        raise SharedMemoryError(f"descriptor {part.fd} of process {part.pid} is no segment of ours")
    if os.pread(fd, TOKEN_BYTES, part.size - TOKEN_BYTES) != part.token:
        raise SharedMemoryError(f"descriptor {part.fd} of process {part.pid} is another segment by now")


def _map(fd: int, size: int, *, writable: bool = False, private: bool = False) -> Segment:
    if private:
        return Segment(fd, size, access=mmap.ACCESS_COPY)
    options: dict[str, Any] = {"flags": mmap.MAP_SHARED, "prot": mmap.PROT_READ}
    if writable:
        options["prot"] |= mmap.PROT_WRITE
    if sys.version_info >= (3, 13):
        options["trackfd"] = False  # one descriptor is enough
    return Segment(fd, size, **options)
