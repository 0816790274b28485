"""What processes cost: processor time and memory of other processes, at the resolution that Linux has."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import psutil

_PROCESS_CLOCK = 2  # CPUCLOCK_SCHED: nanoseconds, unlike the ticks of /proc
SETTLED_PER_S = 0.03


def cpu_s(pids: Iterable[int]) -> float:
    """Return the processor seconds that these processes have used; one that has ended counts nothing."""
    spent = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            spent += time.clock_gettime((~pid) << 3 | _PROCESS_CLOCK)
    return spent


def cpu_by_role(processes: dict[str, list[int]]) -> dict[str, float]:
    """Return the processor seconds of each role so far."""
    return {role: cpu_s(pids) for role, pids in processes.items()}


def pss_bytes(pids: Iterable[int]) -> int:
    """Return the proportional set size: a page that N processes share counts as 1/N of a page."""
    return sum(_memory(pid, "pss") for pid in pids)


def uss_bytes(pids: Iterable[int]) -> int:
    """Return the memory that would be free if these processes ended."""
    return sum(_memory(pid, "uss") for pid in pids)


def _memory(pid: int, kind: str) -> int:
    try:
        return int(getattr(psutil.Process(pid).memory_full_info(), kind))
    except psutil.Error:
        return 0


def settle(pids: list[int], patience_s: float = 300.0) -> None:
    """Wait until these processes do next to nothing.  Raises TimeoutError."""
    deadline = time.monotonic() + patience_s
    calm = 0
    while calm < 2:
        before, began = cpu_s(pids), time.monotonic()
        time.sleep(0.2)
        busy = (cpu_s(pids) - before) / (time.monotonic() - began)
        calm = calm + 1 if busy < SETTLED_PER_S * len(pids) else 0
        if time.monotonic() > deadline:
            raise TimeoutError(f"still busy after {patience_s:g} s")
