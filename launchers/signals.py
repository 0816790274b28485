"""Signals to our own children."""

from __future__ import annotations

import contextlib
import os

__all__ = ["signal_child"]


def signal_child(pid: int, number: int) -> None:
    """Send a signal to a child whose end asyncio has not reported yet; nothing happens if it is gone.

    asyncio's own way, ``Process.send_signal`` and so ``terminate`` and ``kill``, asks before it sends whether the child
    has ended (in Python before 3.13), which takes the exit code from the thread that waits for it: the child is then
    said to have ended with 255, whatever it did (https://github.com/python/cpython/issues/127049).
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
