"""Ray on one host, through its core API: remote functions, actors that stand for single workers."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import ray
from bench_engines import GRAPHS, PLAIN

PATIENCE_S = 120.0
STORE_BYTES = 4 * 2**30
PROGRAMS = str(Path(__file__).resolve().parent)


@ray.remote
class _Place:
    """One worker process: what it is asked to call, it calls."""

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


class Ray:
    """Ray without its dashboard and usage reports."""

    cases = GRAPHS | PLAIN
    holders = ("client", "scheduler")  # what is pending is known to the client alone
    held_tasks = 10_000
    registers = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._remotes: dict[Callable[..., Any], Any] = {}
        self._places: list[Any] = []

    @classmethod
    def version_of(cls) -> str:
        """Return the version of the distribution."""
        return str(ray.__version__)

    def start_workers(self, count: int) -> None:
        """Start Ray here; it starts as many workers as it may use processors."""
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [PROGRAMS, os.environ.get("PYTHONPATH", "")]))
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        ray.init(
            num_cpus=count,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            object_store_memory=STORE_BYTES,
            log_to_driver=False,
            logging_level="error",
        )

    def await_workers(self, count: int) -> None:
        """There is nothing to wait for: it starts more workers than there are cores only when it has tasks."""

    def run_on_all(self, count: int) -> set[int]:
        """Run tasks that wait a little, as many at a time as there are workers, until each has had one."""
        deadline, seen = time.monotonic() + PATIENCE_S, set()
        while len(seen) < count and time.monotonic() < deadline:
            seen |= set(self.gather(self.map(_pid_after, [0.2] * count)))
        return seen

    def processes(self) -> dict[str, list[int]]:
        """Return the pids by role; ``scheduler`` has Ray's daemons."""
        workers = self._workers()
        others = [child.pid for child in _family() if child.pid not in workers]
        return {"client": [os.getpid()], "scheduler": others, "workers": workers}

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        """Submit a task per item; return their references."""
        remote = self._remote(function)
        return [remote.remote(item) for item in items]

    def chunked(self, function: Callable[..., Any], items: range, size: int) -> list[Any]:
        """It has no such thing for remote functions: a task per chunk, by hand."""
        parts = [(function, items[start : start + size]) for start in range(0, len(items), size)]
        return list(itertools.chain.from_iterable(self.gather(self.map(_call_each, parts))))

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Submit a task; return its reference."""
        return self._remote(function).remote(*args)

    def submit_at(self, where: int, function: Callable[..., Any], *args: Any) -> Any:
        """Submit a task to one of two actors, each of which is a worker process."""
        if not self._places:
            self._places = [_Place.options(num_cpus=0).remote() for _ in range(2)]
        return self._places[where].call.remote(function, *args)

    def put_at(self, where: int, value: Any) -> Any:
        """Put a value where all workers of this host see it."""
        del where
        return ray.put(value)

    def result(self, future: Any) -> Any:
        """Return one result."""
        return ray.get(future)

    def gather(self, futures: list[Any]) -> list[Any]:
        """Return the results."""
        return list(ray.get(futures))

    def close(self) -> None:
        """End Ray, and what it may leave."""
        family = _family()
        with contextlib.suppress(Exception):
            ray.shutdown()
        _, alive = psutil.wait_procs(family, timeout=5)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def logs(self) -> str:
        """Nothing: its own errors carry their texts."""
        return ""

    def _remote(self, function: Callable[..., Any]) -> Any:
        if function not in self._remotes:
            self._remotes[function] = ray.remote(function)
        return self._remotes[function]

    @staticmethod
    def _workers() -> list[int]:
        """They name themselves after what they run; Ray's agents are named likewise."""
        found = []
        for child in _family():
            with contextlib.suppress(psutil.Error):
                name = (child.cmdline() or [""])[0]
                if name.startswith("ray::") and not name.endswith("Agent"):
                    found.append(child.pid)
        return found


def _pid_after(pause_s: float) -> int:
    time.sleep(pause_s)
    return os.getpid()


def _call_each(part: tuple[Callable[..., Any], range]) -> list[Any]:
    function, items = part
    return [function(item) for item in items]


def _family() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)
