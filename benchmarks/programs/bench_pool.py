"""``concurrent.futures.ProcessPoolExecutor``: the floor of what a single machine's standard library does."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from bench_engines import PLAIN

PATIENCE_S = 60.0


class Pool:
    """The pool, whose scheduler is a thread of the client."""

    cases = PLAIN - {"transfer", "held"}
    holders = ()
    held_tasks = 1_000_000
    registers = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def version_of(cls) -> str:
        """Return Python's version."""
        return platform.python_version()

    def start_workers(self, count: int) -> None:
        """Make the pool and give it the task that makes it start its processes."""
        self.pool = ProcessPoolExecutor(count)
        self.pool.submit(os.getpid)

    def await_workers(self, count: int) -> None:
        """There is nothing to wait for: its processes do not register."""

    def run_on_all(self, count: int) -> set[int]:
        """Run tasks that wait a little until each process has had one."""
        deadline, seen = time.monotonic() + PATIENCE_S, set()
        while len(seen) < count and time.monotonic() < deadline:
            seen |= set(self.gather(self.map(_pid_after, [0.05] * count)))
        return seen

    def processes(self) -> dict[str, list[int]]:
        """Return the pids by role."""
        workers = [child.pid for child in psutil.Process().children(recursive=True)]
        return {"client": [os.getpid()], "scheduler": [], "workers": workers}

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        """Submit a task per item; return their futures."""
        return [self.pool.submit(function, item) for item in items]

    def chunked(self, function: Callable[..., Any], items: range, size: int) -> list[Any]:
        """Use its ``chunksize``."""
        return list(self.pool.map(function, items, chunksize=size))

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Submit a task; return its future."""
        return self.pool.submit(function, *args)

    def result(self, future: Any) -> Any:
        """Return one result."""
        return future.result()

    def gather(self, futures: list[Any]) -> list[Any]:
        """Return the results."""
        return [future.result() for future in futures]

    def close(self) -> None:
        """End its processes, also in the midst of tasks."""
        children = psutil.Process().children(recursive=True)
        if hasattr(self, "pool"):
            self.pool.shutdown(wait=False, cancel_futures=True)
        _, alive = psutil.wait_procs(children, timeout=5)
        for process in alive:
            process.kill()

    def logs(self) -> str:
        """Nothing: it has none."""
        return ""


def _pid_after(pause_s: float) -> int:
    time.sleep(pause_s)
    return os.getpid()
