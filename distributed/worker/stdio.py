"""Standard input and output of a worker process: tasks cannot eat stdin, and their prints reach the
log at once.

Only for processes that are a worker and nothing else; a worker inside a user's session leaves all
this alone.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys

__all__ = ["EXIT_WRECKED", "StdioGuard"]

EXIT_WRECKED = 71
"""Exit code of a worker process whose descriptors a task has closed: it can hear and tell nobody any more."""


class StdioGuard:
    """Puts the standard streams in order, and again when a task has closed one of them.

    A closed descriptor 0, 1 or 2 is worse than lost output: the next socket would take its number,
    and a task's prints would go to a peer.
    """

    def __init__(self) -> None:
        null = os.open(os.devnull, os.O_RDWR)
        if null != 0:
            os.dup2(null, 0)
            os.close(null)
        for number in (1, 2):
            if _is_closed(number):
                os.dup2(0, number)
        self._saved = [_keep(number) for number in (0, 1, 2)]
        # Opened early and so among the sockets' numbers: who closes them all closes this one too.
        self._canary = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._null = os.fstat(self._canary).st_ino
        self._closed = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True, errors="backslashreplace")

    def repair(self) -> list[int]:
        """Reopen those of the descriptors 0, 1 and 2 that are closed, and return them."""
        closed = [number for number in (0, 1, 2) if _is_closed(number)]
        for number in closed:
            os.dup2(self._saved[number], number)
        return closed

    def is_wrecked(self) -> bool:
        """Whether a task has closed descriptors by the number, and with them most likely our sockets."""
        if self._closed:
            return False
        try:
            return os.fstat(self._canary).st_ino != self._null
        except OSError:
            return not self._closed

    def close(self) -> None:
        """Give up the spare descriptors."""
        self._closed = True
        for number in (*self._saved, self._canary):
            with contextlib.suppress(OSError):
                os.close(number)


def _is_closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError as error:
        return error.errno == errno.EBADF
    return False


def _keep(number: int) -> int:
    """Return a spare of a descriptor, with a number that nobody closes by a loop over small
    ones.
    """
    spare = os.dup(number)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import fcntl  # not on every system

        high = fcntl.fcntl(spare, fcntl.F_DUPFD_CLOEXEC, 200)
        os.close(spare)
        return high
    return spare
