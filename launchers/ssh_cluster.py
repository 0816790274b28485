"""The founding ``distributed.cluster.Cluster``: what the command ``dcluster`` starts, from Python.

``distributed`` finds it by an entry point (``distributed/cluster.py``).
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import queue
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

from distributed.client.loops import LoopThread
from distributed.errors import ConfigError
from launchers.cli_dcluster import read_wishes
from launchers.errors import StartFailedError
from launchers.hosts import parse_hosts
from launchers.ssh_network import SshNetwork

__all__ = ["Cluster"]

T = TypeVar("T")
_SSH_PORT = 22
_MOST_LINES = 10_000
_CLOSE_S = 60.0


class Cluster:
    """A scheduler on the host ``scheduler_addr`` and workers on the hosts ``worker_addrs``, over the system's ssh.

    Names are as in ``dcluster``: ``[user@]name[:port]``, also ``n[01-04]``.  ``nthreads`` per worker, 0: the host's
    cores shared among its ``nprocs`` workers; ``ssh_port`` 22: as ssh's configuration says; ``logdir``: a folder here
    that keeps what each process prints.  Starts at once and returns when the scheduler listens and all workers (or
    those of ``min_hosts`` hosts) are started; ends with :meth:`shutdown`, at the end of the ``with`` block, or with
    this process.  ``Client(cluster)`` connects.

    Raises ConfigError for arguments that cannot be, StartFailedError for hosts that do not start; then nothing is left.
    """

    def __init__(
        self,
        scheduler_addr: str,
        scheduler_port: int,
        worker_addrs: Iterable[str],
        nthreads: int = 0,
        nprocs: int = 1,
        ssh_username: str | None = None,
        ssh_port: int = _SSH_PORT,
        ssh_private_key: str | None = None,
        logdir: str | Path | None = None,
        *,
        min_hosts: int | None = None,
        death_timeout: str = "60s",
        python: str | None = None,
    ) -> None:
        addresses = [worker_addrs] if isinstance(worker_addrs, str) else list(worker_addrs)
        try:
            scheduler, hosts = parse_hosts([scheduler_addr]), parse_hosts(addresses)
            if len(scheduler) != 1:
                raise ValueError(f"{scheduler_addr!r} is not one host for the scheduler")
            wishes = read_wishes(
                scheduler,
                hosts,
                ssh_username=ssh_username,
                ssh_port=ssh_port if ssh_port != _SSH_PORT else None,
                ssh_private_key=ssh_private_key,
                death_timeout=death_timeout,
                python=python,
                min_hosts=min_hosts,
                scheduler_port=scheduler_port,
                nthreads=nthreads,
                nprocs=nprocs,
                log_directory=Path(logdir) if logdir else None,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self._lines: queue.Queue[str | None] = queue.Queue(_MOST_LINES)
        self._thread = LoopThread("dlaunch ssh")
        self._closed = False
        try:
            self._network = self._call(self._open(wishes))
        except BaseException:
            self._thread.stop()
            raise
        atexit.register(self.shutdown)

    def __repr__(self) -> str:
        return f"<Cluster at {self.scheduler_address or 'no address'}>"

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()

    @property
    def scheduler_address(self) -> str:
        """``"ip:port"`` of the scheduler; "" once it is shut down."""
        return "" if self._closed else self._network.address

    def monitor_remote_processes(self) -> None:
        """Print what the remote processes print, until the scheduler or the last worker has ended.

        A Ctrl-C ends it by KeyboardInterrupt, as any function; the cluster goes on until :meth:`shutdown`.
        """
        while (line := self._lines.get()) is not None:
            print(line, flush=True)  # noqa: T201 - that is what it is for
        self._lines.put(None)  # for the next one who asks

    def add_worker(self, addr: str) -> None:
        """Start ``nprocs`` workers on one more host.  Raises ConfigError for what is no host, StartFailedError."""
        if self._closed:
            raise RuntimeError("the cluster is shut down")
        try:
            hosts = parse_hosts([addr])
        except ValueError as error:
            raise ConfigError(str(error)) from error
        for host in hosts:
            if not self._call(self._network.add_worker(host)):
                raise StartFailedError(self._network.problem)

    def shutdown(self) -> None:
        """End the workers and the scheduler; returns when nothing of them is left.  Idempotent."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.shutdown)
        try:
            self._call(self._close(), _CLOSE_S)
        finally:
            self._thread.stop()

    close = shutdown

    async def _open(self, wishes: Any) -> SshNetwork:
        network = SshNetwork(wishes, asyncio.Event(), self._take)
        try:
            started = await network.start_scheduler() and await network.start_workers()
        except BaseException:
            await network.shut_down()
            raise
        if not started:
            problem = network.problem
            await network.shut_down()
            raise StartFailedError(problem)
        self._watching = asyncio.ensure_future(self._watch(network))
        return network

    async def _watch(self, network: SshNetwork) -> None:
        await network.watch()
        self._take(None)

    async def _close(self) -> None:
        self._network.stop.set()
        await self._watching
        await self._network.shut_down()

    def _take(self, line: str | None) -> None:
        # Nobody may ever come to read them: then the newest count.
        if self._lines.full():
            with contextlib.suppress(queue.Empty):
                self._lines.get_nowait()
        self._lines.put_nowait(line)

    def _call(self, coro: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        return asyncio.run_coroutine_threadsafe(coro, self._thread.loop).result(timeout_s)
