"""A whole cluster of processes on 127.0.0.1: ``dscheduler`` and ``dworker``, for tests from the client's end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

from distributed.client import Client
from tests.aio import until_sync
from tests.daemons.nannybed import ROOT, family, gone


class ProcessCluster:
    """A scheduler and workers of a cluster file of their own, below ``folder``; their logs are there too."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "cluster.json"
        self.processes = []
        self.start_scheduler()

    def start_scheduler(self):
        """Start the scheduler, or a successor of a dead one, and wait until it listens."""
        self.scheduler = self._start("dscheduler", "scheduler.log", "--port", "0", "--cluster-file", str(self.file))
        self.address = self.scheduler.stdout.readline().split()[-1]

    def _start(self, command, log, *options):
        with (self.folder / log).open("a") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{command}", "--host", "127.0.0.1", *options],
                cwd=ROOT,
                env={**os.environ, "DLAUNCH_HOME": str(self.folder / "home")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if command == "dscheduler" else err,
                stderr=err,
                text=True,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def dworker(self, *options):
        """Start ``dworker`` with these options, one thread per worker unless they say otherwise."""
        return self._start("dworker", "worker.log", "--cluster-file", str(self.file), "--nthreads", "1", *options)

    def log(self, of):
        """What the ``scheduler`` or the ``worker`` has logged so far."""
        return (self.folder / f"{of}.log").read_text(errors="replace")

    def client(self, **options):
        """A new client of this cluster."""
        return Client(cluster_file=self.file, **options)

    def end(self, process, number=signal.SIGTERM, timeout_s=10.0):
        """End one of the commands by a signal; return its exit code, when nothing of it is left."""
        below = family(process.pid)
        process.send_signal(number)
        code = process.wait(timeout_s)
        until_sync(lambda: gone(below), timeout_s, "the end of all its processes")
        return code

    def close(self):
        """Kill whatever is left."""
        for process in reversed(self.processes):
            below = family(process.pid) if process.poll() is None else []
            for pid in [process.pid, *below]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            until_sync(lambda below=below: gone(below), what="the end of all processes")


@contextlib.contextmanager
def process_cluster(folder, workers=0, *options):
    """A cluster with ``workers`` workers (by one dworker, ``options`` are its), killed in the end."""
    cluster = ProcessCluster(folder)
    try:
        if workers:
            cluster.dworker("--nprocs", str(workers), *options)
            with cluster.client() as client:
                client.wait_for_workers(workers, timeout_s=20.0)
        yield cluster
    finally:
        cluster.close()
