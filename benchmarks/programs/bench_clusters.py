"""A cluster of either subject on the loopback interface, made of its own commands."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from distributed import Client

HOST = "127.0.0.1"
PATIENCE_S = 120.0
PROGRAMS = str(Path(__file__).resolve().parent)


class Ours:
    """dlaunch, from the checkout."""

    def scheduler(self, cluster_file: Path) -> list[str]:
        """Return the command line of a scheduler that publishes ``cluster_file``."""
        return ["-m", "distributed.cli.dscheduler", *self._where(cluster_file), "--port", "0"]

    def workers(self, cluster_file: Path, count: int) -> list[str]:
        """Return the command line of ``count`` worker processes of one thread."""
        where = self._where(cluster_file)
        size = ["--nprocs", str(count), "--nthreads", "1", "--memory-limit", "0"]
        return ["-m", "distributed.cli.dworker", *where, *size]

    def client(self, cluster_file: Path) -> Any:
        """Connect."""
        return Client(cluster_file=str(cluster_file))

    @staticmethod
    def _where(cluster_file: Path) -> list[str]:
        return ["--cluster-file", str(cluster_file), "--host", HOST]


class Peer:
    """The package ``distributed`` of the public index, without its dashboard and memory limits."""

    def scheduler(self, cluster_file: Path) -> list[str]:
        """Return the command line of a scheduler that publishes ``cluster_file``."""
        where = ["--scheduler-file", str(cluster_file), "--host", HOST, "--port", "0"]
        return ["-m", "dask", "scheduler", *where, "--no-dashboard"]

    def workers(self, cluster_file: Path, count: int) -> list[str]:
        """Return the command line of ``count`` worker processes of one thread."""
        where = ["--scheduler-file", str(cluster_file), "--host", HOST, "--no-dashboard"]
        size = ["--nworkers", str(count), "--nthreads", "1", "--memory-limit", "0"]
        return ["-m", "dask", "worker", *where, *size]

    def client(self, cluster_file: Path) -> Any:
        """Connect."""
        return Client(scheduler_file=str(cluster_file), timeout=PATIENCE_S)


SUBJECTS: dict[str, type[Ours | Peer]] = {"dlaunch": Ours, "distributed": Peer}


class Cluster:
    """A running scheduler, perhaps workers, and a client of them."""

    def __init__(self, subject: str, folder: Path) -> None:
        self.commands = SUBJECTS[subject]()
        self.folder = folder
        self.file = folder / "cluster.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", self.commands.scheduler(self.file))
        self._await_file()
        self.client = self.commands.client(self.file)

    def start_workers(self, count: int) -> subprocess.Popen[bytes]:
        """Run the worker command and return at once."""
        return self._start("workers", self.commands.workers(self.file, count))

    def await_workers(self, count: int) -> None:
        """Wait until ``count`` workers have registered."""
        self.client.wait_for_workers(count, PATIENCE_S)

    def addresses(self) -> list[str]:
        """Return the workers' addresses in a fixed order."""
        return sorted(self.client.ncores())

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
        self.processes.append(process)
        return process

    def _await_file(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.file.exists() or not self.file.stat().st_size:
            if self.processes[0].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the scheduler did not start:\n{self.logs()}")
            time.sleep(0.005)

    def logs(self) -> str:
        """Return the ends of the daemons' logs, for a failure's report."""
        ends = [path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log")]
        return "\n".join(ends)

    def close(self) -> None:
        """End the client, then the workers, then the scheduler, and what they may have left."""
        with contextlib.suppress(Exception):
            self.client.close()
        for process in reversed(self.processes):
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    group = process.pid  # it leads its session
    family = [process.pid]
    with contextlib.suppress(psutil.Error):
        family += [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def running_cluster(subject: str, workers: int = 0) -> Iterator[Cluster]:
    """Yield a cluster with that many registered workers of one thread; end it afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder:
        os.environ["DLAUNCH_HOME"] = str(Path(folder) / "home")
        cluster = Cluster(subject, Path(folder))
        try:
            if workers:
                cluster.start_workers(workers)
                cluster.await_workers(workers)
            yield cluster
        except Exception as error:
            raise RuntimeError(f"{error!r}\n{cluster.logs()}") from error
        finally:
            cluster.close()
