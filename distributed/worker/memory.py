"""How much memory this process has in use, cheaply."""

from __future__ import annotations

import gc
import os
import sys

from distributed.sharing.charge import charged_bytes
from distributed.sharing.segments import populate_all

__all__ = ["charged_memory", "give_back_memory", "resident_bytes"]

_STATM = "/proc/self/statm"
_ON_LINUX = sys.platform.startswith("linux")
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes (0 if the system does not tell)."""
    if _ON_LINUX:
        with open(_STATM, "rb") as file:  # opened each time: a descriptor kept over a fork would tell of the parent
            return int(file.read().split()[1]) * _PAGE
    import psutil  # only where there is no /proc

    return int(psutil.Process().memory_info().rss)


def charged_memory(exact_above: float) -> int:
    """Return the memory that this process has to answer for, of shared memory its part.

    That takes time if there is much; so up to ``exact_above`` bytes the resident memory will do, which is not less.
    """
    populate_all()  # the system counts only pages that were looked at
    used = resident_bytes()
    return charged_bytes(used) if used > exact_above else used


def give_back_memory() -> None:
    """Collect garbage and let the C library return what it can to the system: slow, for when memory
    is short.
    """
    gc.collect()
    if _ON_LINUX:
        import ctypes  # rarely needed

        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # not in every C library
            trim(0)
