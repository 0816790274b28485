"""How much memory another process holds, cheaply."""

from __future__ import annotations

import os
import sys

__all__ = ["resident_bytes_of"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes_of(pid: int) -> int:
    """Return the resident memory of a process in bytes, 0 if it is gone or not ours to look at."""
    if sys.platform != "linux":
        return _portable(pid)
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def _portable(pid: int) -> int:
    import psutil  # only where there is no /proc

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
