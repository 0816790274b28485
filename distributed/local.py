"""A cluster on this machine: a scheduler and workers as processes that end with the one that
started them.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path

from distributed.capacity import usable_cores
from distributed.clusterfile import ClusterFile
from distributed.errors import ConfigError
from distributed.pool import rpc

__all__ = ["LocalCluster"]

logger = logging.getLogger(__name__)

_POLL_S = 0.02
_GRACE_S = 10.0
_ORPHAN_TIMEOUT_S = 5.0
_LAST_LINES = 15


class _Processes:
    """The processes of one cluster and their folder, apart from it so that a finalizer can end
    them.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dlaunch-local-"))
        self.owner = os.getpid()
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start ``python -m distributed.cli.NAME``, its output in a log of the folder."""
        argv = [sys.executable, "-m", f"distributed.cli.{name}", *arguments]
        with self.log(name).open("wb") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal is for the user's program, which then ends these.
                start_new_session=True,
            )
        self._running.insert(0, process)
        return process

    def log(self, name: str) -> Path:
        """Where the output of a process goes."""
        return self.folder / f"{name}.log"

    def tail(self, name: str) -> str:
        """The last lines of a log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-_LAST_LINES:])
        return ""

    def ask(self) -> None:
        """Tell all processes to end; does not wait."""
        if os.getpid() != self.owner:
            return  # a forked child: not its processes
        for process in self._running:
            if process.poll() is None:
                process.terminate()

    def end(self) -> None:
        """End all processes, workers first, and remove the folder.  Idempotent."""
        if os.getpid() != self.owner:
            return
        self.ask()
        deadline = time.monotonic() + _GRACE_S
        for process in self._running:
            _await_end(process, max(deadline - time.monotonic(), 0.1))
        self._running.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def _await_end(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Wait for a process that was told to end, and kill it if it does not."""
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        logger.warning("process %d did not end when told and is killed", process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its session, with all workers
        process.wait()


class LocalCluster:
    """A cluster on this machine, for ``Client(cluster)``; a context manager.

    ``n_workers`` processes (default: one per usable core) of ``threads_per_worker`` threads.  All
    of it ends with :meth:`close`, at the exit of this process, or soon after this process is
    killed.  ``timeout_s``: how long to wait for the workers.  ``scheduler_address`` is
    ``"ip:port"``, ``cluster_file`` the file that others of this user may connect with.

    Raises ConfigError with the reason if a process does not start.
    """

    def __init__(
        self,
        n_workers: int | None = None,
        threads_per_worker: int = 1,
        *,
        memory_limit: str | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        count = usable_cores() if n_workers is None else n_workers
        if count < 1 or threads_per_worker < 1:
            raise ValueError(f"a cluster needs at least 1 worker of 1 thread, not {count} of {threads_per_worker}")
        self._processes = _Processes()
        self._finalizer = weakref.finalize(self, self._processes.end)
        self._finalizer.atexit = False
        self.cluster_file = self._processes.folder / "cluster.json"
        self.scheduler_address = ""
        deadline = time.monotonic() + timeout_s
        try:
            self._start_scheduler(deadline)
            self._start_workers(count, threads_per_worker, memory_limit, deadline)
        except BaseException:
            self.close()
            raise
        atexit.register(self._finalizer)

    def __repr__(self) -> str:
        return f"<LocalCluster: scheduler={self.scheduler_address or 'closed'}>"

    def _start_scheduler(self, deadline: float) -> None:
        process = self._processes.start(
            "dscheduler",
            *("--port", "0", "--host", "127.0.0.1"),
            *("--cluster-file", str(self.cluster_file), "--death-of-parent"),
        )
        while not self.cluster_file.exists():
            self._check(process, "dscheduler", deadline)
            time.sleep(_POLL_S)
        self.scheduler_address = ClusterFile.read(self.cluster_file).addresses[0]

    def _start_workers(self, count: int, threads: int, memory_limit: str | None, deadline: float) -> None:
        arguments = ["--cluster-file", str(self.cluster_file), "--host", "127.0.0.1"]
        arguments += ["--nprocs", str(count), "--nthreads", str(threads)]
        # When this process is killed the scheduler ends with it, and the workers then wait for it
        # no longer than this.
        arguments += ["--death-timeout", f"{_ORPHAN_TIMEOUT_S:g}s"]
        arguments += ["--local-directory", str(self._processes.folder)]
        if memory_limit is not None:
            arguments += ["--memory-limit", memory_limit]
        process = self._processes.start("dworker", *arguments)
        scheduler = rpc(self.scheduler_address, cluster_file=str(self.cluster_file))
        while len(scheduler.ncores()) < count:
            self._check(process, "dworker", deadline)
            time.sleep(_POLL_S)

    def _check(self, process: subprocess.Popen[bytes], name: str, deadline: float) -> None:
        """Raise ConfigError if a process has ended, or time is up, before it was of use."""
        if (code := process.poll()) is not None:
            problem = f"{name} ended with exit code {code}"
        elif time.monotonic() > deadline:
            problem = f"{name} was not ready in time"
        else:
            return
        raise ConfigError(f"cannot start a cluster on this machine: {problem}:\n{self._processes.tail(name)}")

    def logs(self) -> dict[str, str]:
        """Return what the processes have written so far, tasks' prints among it."""
        texts = {}
        for path in sorted(self._processes.folder.glob("*.log")):
            with contextlib.suppress(OSError):
                texts[path.stem] = path.read_text(errors="replace")
        return texts

    def close(self) -> None:
        """End all processes.  Idempotent."""
        atexit.unregister(self._finalizer)
        self._finalizer()
        self.scheduler_address = ""

    def close_soon(self) -> None:
        """Tell all processes to end without waiting, for destructors; the rest is done when this is
        collected.
        """
        self._processes.ask()

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
