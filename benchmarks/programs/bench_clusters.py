"""A cluster of either package named ``distributed`` on the loopback interface, made of its own commands."""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from bench_engines import GRAPHS, PLAIN

from distributed import Client

HOST = "127.0.0.1"
PATIENCE_S = 120.0
PROGRAMS = str(Path(__file__).resolve().parent)


class _Cluster:
    """A running scheduler, perhaps workers, and a client of them."""

    cases = GRAPHS | PLAIN
    distribution = ""
    holders = ("scheduler",)
    held_tasks = 0
    registers = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "cluster.json"
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            self.scheduler = self._start("scheduler", self._scheduler())
            self._await_file()
            self.client = self._connect()
        except BaseException:
            self.close()
            raise

    def _scheduler(self) -> list[str]:
        raise NotImplementedError

    def _workers(self, count: int) -> list[str]:
        raise NotImplementedError

    def _connect(self) -> Any:
        raise NotImplementedError

    @classmethod
    def version_of(cls) -> str:
        """Return the version of the distribution."""
        try:
            return importlib.metadata.version(cls.distribution)
        except importlib.metadata.PackageNotFoundError:  # run from the checkout without being installed
            return str(__import__("distributed").__version__)

    # -- workers -------------------------------------------------------------------------------------

    def start_workers(self, count: int) -> None:
        """Run the worker command and return at once."""
        self.workers = self._start("workers", self._workers(count))

    def await_workers(self, count: int) -> None:
        """Wait until ``count`` workers have registered."""
        self.client.wait_for_workers(count, PATIENCE_S)
        self.addresses = sorted(self.client.ncores())

    def run_on_all(self, count: int) -> set[int]:  # noqa: ARG002
        """Return what ``os.getpid`` returns in each worker."""
        return set(self.client.run(os.getpid).values())

    def processes(self) -> dict[str, list[int]]:
        """Return the pids by role; ``workers`` has the worker command with its nannies and servers."""
        return {
            "client": [os.getpid()],
            "scheduler": [self.scheduler.pid],
            "workers": [self.workers.pid, *_descendants(self.workers.pid)],
        }

    # -- tasks ---------------------------------------------------------------------------------------

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        """Submit a task per item; return their futures."""
        return list(self.client.map(function, items, pure=False))

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Submit a task; return its future."""
        return self.client.submit(function, *args, pure=False)

    def submit_at(self, where: int, function: Callable[..., Any], *args: Any) -> Any:
        """Submit a task to one worker."""
        return self.client.submit(function, *args, pure=False, workers=[self.addresses[where]])

    def put_at(self, where: int, value: Any) -> Any:
        """Scatter to one worker."""
        return self.client.scatter(value, workers=[self.addresses[where]])

    def result(self, future: Any) -> Any:
        """Return one result."""
        return future.result()

    def gather(self, futures: list[Any]) -> list[Any]:
        """Return the results."""
        return list(self.client.gather(futures))

    # -- processes -----------------------------------------------------------------------------------

    def _start(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        path = [PROGRAMS, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _await_file(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.file.exists() or not self.file.stat().st_size:
            if self.scheduler.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the scheduler did not start:\n{self.logs()}")
            time.sleep(0.005)

    def logs(self) -> str:
        """Return the ends of the daemons' logs, for a failure's report."""
        return "\n".join(path.read_text(errors="replace")[-1000:] for path in self.folder.glob("*.log"))

    def close(self) -> None:
        """End the client, then the workers, then the scheduler, and what they may have left."""
        if hasattr(self, "client"):
            # A client may wait for a scheduler that a case has overwhelmed.
            closing = threading.Thread(target=self.client.close, daemon=True)
            closing.start()
            closing.join(PATIENCE_S / 20)
        for process in reversed(self._processes):
            _end(process)


class Ours(_Cluster):
    """dlaunch, from the checkout."""

    cases = GRAPHS | PLAIN | {"simulated"}
    distribution = "dlaunch"
    held_tasks = 1_000_000

    def _scheduler(self) -> list[str]:
        return ["-m", "distributed.cli.dscheduler", *self._where(), "--port", "0"]

    def _workers(self, count: int) -> list[str]:
        size = ["--nprocs", str(count), "--nthreads", "1", "--memory-limit", "0"]
        return ["-m", "distributed.cli.dworker", *self._where(), *size]

    def _where(self) -> list[str]:
        return ["--cluster-file", str(self.file), "--host", HOST]

    def _connect(self) -> Any:
        return Client(cluster_file=str(self.file))

    def chunked(self, function: Callable[..., Any], items: range, size: int) -> list[Any]:
        """Use the executor's ``chunksize``."""
        return list(self.client.get_executor(pure=False).map(function, items, chunksize=size))


class Peer(_Cluster):
    """The package ``distributed`` of the public index, without its dashboard and memory limits."""

    distribution = "distributed"
    held_tasks = 10_000

    def _scheduler(self) -> list[str]:
        where = ["--scheduler-file", str(self.file), "--host", HOST, "--port", "0"]
        return ["-m", "dask", "scheduler", *where, "--no-dashboard"]

    def _workers(self, count: int) -> list[str]:
        where = ["--scheduler-file", str(self.file), "--host", HOST, "--no-dashboard"]
        size = ["--nworkers", str(count), "--nthreads", "1", "--memory-limit", "0"]
        return ["-m", "dask", "worker", *where, *size]

    def _connect(self) -> Any:
        return Client(scheduler_file=str(self.file), timeout=PATIENCE_S)

    def chunked(self, function: Callable[..., Any], items: range, size: int) -> list[Any]:
        """It has no such thing for calls: a task per chunk, by hand."""
        parts = [(function, items[start : start + size]) for start in range(0, len(items), size)]
        return list(itertools.chain.from_iterable(self.gather(self.map(call_each, parts))))


def call_each(part: tuple[Callable[..., Any], range]) -> list[Any]:
    """Call a function on each item of a chunk."""
    function, items = part
    return [function(item) for item in items]


def _descendants(pid: int) -> list[int]:
    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


def _end(process: subprocess.Popen[bytes]) -> None:
    group = process.pid  # it leads its session
    family = [process.pid, *_descendants(process.pid)]
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
