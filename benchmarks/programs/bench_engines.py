"""What a case may ask of a subject, and how the subject of a name is opened."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

ENGINES = {
    "dlaunch": ("bench_clusters", "Ours"),
    "distributed": ("bench_clusters", "Peer"),
    "ray": ("bench_ray", "Ray"),
    "pool": ("bench_pool", "Pool"),
}
GRAPHS = frozenset({"tree", "chain", "all_to_all"})
PLAIN = frozenset({"throughput", "short", "chunks", "latency", "transfer", "growth", "held", "startup"})


class Engine(Protocol):
    """A subject: something that runs functions in other processes.

    ``cases`` it can do; ``held_tasks``: how many tasks it is made to hold at most, so that this ends;
    ``holders``: the roles of the processes that hold them.
    """

    cases: frozenset[str]
    held_tasks: int
    holders: tuple[str, ...]
    registers: bool

    @classmethod
    def version_of(cls) -> str:
        """Return the version of the distribution."""

    def start_workers(self, count: int) -> None:
        """Begin to start worker processes of one thread; whatever else is needed runs already."""

    def await_workers(self, count: int) -> None:
        """Wait until all have registered (``registers`` says whether the subject knows such a moment)."""

    def run_on_all(self, count: int) -> set[int]:
        """Run a function in every worker process; return their pids."""

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        """Submit a task per item; return their futures."""

    def chunked(self, function: Callable[..., Any], items: range, size: int) -> list[Any]:
        """Return the results of calls that travel ``size`` at a time."""

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Submit a task, whose arguments may be futures; return its future."""

    def submit_at(self, where: int, function: Callable[..., Any], *args: Any) -> Any:
        """The same on worker number ``where``."""

    def put_at(self, where: int, value: Any) -> Any:
        """Bring a value to worker number ``where``; return its future when it is there."""

    def result(self, future: Any) -> Any:
        """Return one result."""

    def gather(self, futures: list[Any]) -> list[Any]:
        """Return the results."""

    def processes(self) -> dict[str, list[int]]:
        """Return the pids by role: ``client``, ``scheduler``, ``workers``."""

    def close(self) -> None:
        """End all of it."""

    def logs(self) -> str:
        """Return the ends of logs, for a failure's report."""


@contextlib.contextmanager
def opened(name: str, workers: int = 0) -> Iterator[Any]:
    """Yield the engine called ``name`` with that many workers, ready; end it afterwards."""
    module, cls = ENGINES[name]
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ["DLAUNCH_HOME"] = str(Path(folder) / "home")
        engine = getattr(importlib.import_module(module), cls)(Path(folder))
        try:
            if workers:
                engine.start_workers(workers)
                engine.await_workers(workers)
            yield engine
        except Exception as error:
            raise RuntimeError(f"{error!r}; the logs end so:\n{engine.logs()}") from error
        finally:
            engine.close()
