"""The Nanny: the daemon around :class:`~distributed.nanny.machine.NannyMachine` and one worker
process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from tornado.ioloop import IOLoop

from distributed.capacity import usable_cores
from distributed.clock import on_the_second
from distributed.clusterfile import ClusterFile
from distributed.daemon import Daemon, operation
from distributed.errors import CommError, ConfigError, DistributedError, RequestTimeoutError
from distributed.nanny import actions, events
from distributed.nanny.machine import NannyMachine, RestartPolicy
from distributed.nanny.memory import resident_bytes_of
from distributed.nanny.orders import (
    Exited,
    Listening,
    Registered,
    Report,
    Spawned,
    WorkerSettings,
)
from distributed.nanny.processes import ForkServer, Listener, WorkerProcess, describe_exit
from distributed.network import parse_address
from distributed.sharing.charge import charged_bytes

__all__ = ["THREAD_VARIABLES", "Nanny"]

logger = logging.getLogger(__name__)

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""How many threads libraries start beside ours: set to the worker's threads unless the user has set
them.
"""

_PAUSES: Final = ((0.5, 0.25), (0.25, 1.0), (0.0, 2.0))
"""From so much of its memory limit on, a worker is looked at every so many seconds."""
_REPORT_S: Final = 5.0
_LAST_REPORTS_S: Final = 1.0


class Nanny(Daemon):
    """Keeps one worker process running; takes the place of a ``Worker`` in the founding document.

    ``Nanny('192.168.0.1', 8786, loop=loop).start(0)``: the process listens on ``worker_port`` and
    registers with the scheduler; ``start`` returns a future of that.  ``services`` are the nanny's:
    name or (name, port) -> class of an object with ``listen(port)`` and ``stop()``, called with the
    nanny.

    ``worker``: what else the worker process is told, fields of ``WorkerSettings`` in ``orders.py``:
    ``cluster_file``, ``memory_limit`` (above 95 % of which it is killed), ``resources``,
    ``job_id``, ``death_timeout_s``, ``environment``, ``log_level``, ``shared_memory``.
    ``fork_server``: one that several nannies share (default: an own one);
    ``listener(process, report)`` is called for all that worker processes do; ``stop_grace_s``:
    seconds that a worker has to say goodbye.

    Raises TypeError for an unknown setting, ConfigError for one that cannot be used.
    """

    kind = "Nanny"
    process: WorkerProcess | None = None
    _scheduler = ""
    _wake: asyncio.TimerHandle | None = None
    _check: asyncio.TimerHandle | None = None

    def __init__(
        self,
        center_ip: str | None = None,
        center_port: int | None = None,
        ip: str | None = None,
        worker_port: int = 0,
        ncores: int | None = None,
        loop: IOLoop | None = None,
        local_dir: str | None = None,
        services: Mapping[Any, Callable[[Any], Any]] | None = None,
        name: str | None = None,
        *,
        secret: bytes | None = None,
        fork_server: ForkServer | None = None,
        listener: Listener | None = None,
        policy: RestartPolicy | None = None,
        stop_grace_s: float = 5.0,
        **worker: Any,
    ) -> None:
        super().__init__(loop=loop, host=ip, secret=secret or _secret_of(worker))
        self.name = name or ""
        self.services: dict[str, Any] = {}
        self._services_wanted = dict(services or {})
        self._settings = WorkerSettings(
            scheduler=_center(center_ip, center_port),
            secret=self._secret,
            host=ip,
            port=worker_port,
            nthreads=ncores or usable_cores(),
            local_directory=local_dir,
            name=name,
            **_told(worker),
        )
        self.machine = NannyMachine(memory_limit=self._settings.memory_limit, policy=policy)
        self._fork_server = fork_server or ForkServer()
        self._owns_server = fork_server is None
        self._listener = listener
        self._stop_grace_s = stop_grace_s
        self._waiters: set[asyncio.Future[None]] = set()
        self._reports: set[asyncio.Task[Any]] = set()

    @property
    def worker_address(self) -> str:
        """``"ip:port"`` of the worker process, ``""`` while there is none."""
        return self.machine.worker_address

    @property
    def worker_dir(self) -> str:
        """The worker's private folder, ``""`` while there is none."""
        return self.process.directory if self.process and self.process.is_alive else ""

    @property
    def worker_port(self) -> int:
        """The port that the worker process listens on, 0 while there is none."""
        return int(self.worker_address.rpartition(":")[2] or 0)

    # -- life --------------------------------------------------------------------------

    @property
    def facing(self) -> str:
        """The scheduler."""
        return self._settings.scheduler or ""

    async def _start(self) -> None:
        for wanted, make in self._services_wanted.items():
            service_name, port = wanted if isinstance(wanted, tuple) else (wanted, 0)
            service = self.services[service_name] = make(self)
            service.listen(port)
        self.handle(events.StartAsked(self._now_s()))
        self._watch_memory()
        try:
            await self._until_running()
        except CommError:
            if self.status == "closing" or self.exit_code == 0:
                return  # it was told to end before it had begun
            raise

    async def _close(self, reason: str) -> None:
        self.handle(events.StopAsked(self._now_s(), self._stop_grace_s))
        while self.machine.has_process:
            await self._change()
        for timer in (self._wake, self._check):
            if timer is not None:
                timer.cancel()
        if self._reports:
            await asyncio.wait(self._reports, timeout=_LAST_REPORTS_S)
        if self._owns_server:
            self._fork_server.close()
        for service in self.services.values():
            service.stop()
        logger.debug("nanny %s closed: %s", self.name or self.address, reason)

    # -- events ------------------------------------------------------------------------

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def handle(self, event: events.Event) -> None:
        """Give an event to the machine, carry out what it decides, and wake those who wait for its
        state.
        """
        for action in self.machine.handle(event):
            self._perform(action)
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _perform(self, action: actions.Action) -> None:
        if isinstance(action, actions.SpawnWorker):
            self._spawn_worker()
        elif isinstance(action, actions.StopWorker):
            self._send_signal(signal.SIGTERM)
        elif isinstance(action, actions.KillWorker):
            logger.warning("killing %s: %s", self.name or self.worker_address, action.reason)
            self._send_signal(signal.SIGKILL)
        elif isinstance(action, actions.WakeAt):
            self._wake_at(action)
        elif isinstance(action, actions.ReportExit):
            self._report_exit(action)
        else:
            self._end_nanny(action)

    async def _change(self) -> None:
        """Wait until something has happened."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        await waiter

    async def _until_running(self) -> None:
        while self.machine.state != "running":
            if self.machine.state in {"stopped", "given-up"}:
                raise CommError(f"the worker process did not register: {self.machine.last_exit}")
            await self._change()

    def _hear(self, process: WorkerProcess, report: Report) -> None:
        """Take in what the fork server says about our worker process."""
        if process is not self.process:
            return
        if isinstance(report, Listening):
            self.handle(events.WorkerListened(report.address))
        elif isinstance(report, Registered):
            self._scheduler = report.scheduler
            self.handle(events.WorkerRegistered(self._now_s()))
        elif isinstance(report, Exited):
            how = describe_exit(report.exit_code, process.last_words)
            self._exited(report.exit_code, how, announced=bool(process.last_words))
        elif isinstance(report, Spawned):
            logger.debug("worker process %s of nanny %s starts", report.pid, self.name)
        if self._listener is not None:
            self._listener(process, report)

    def _exited(self, exit_code: int, how: str, announced: bool = True) -> None:
        who = self.name or self.worker_address or "the worker"
        self.handle(events.WorkerExited(self._now_s(), exit_code, how, announced))
        if self.machine.state == "restarting":
            logger.warning("%s died and is started again: %s", who, self.machine.last_exit)
        else:
            logger.info("%s ended: %s", who, self.machine.last_exit)

    # -- memory ------------------------------------------------------------------------

    def _watch_memory(self) -> None:
        limit = self.machine.memory_limit
        if not limit:
            return
        used = 0
        if self.process is not None and self.process.is_alive and self.process.pid:
            used = resident_bytes_of(self.process.pid)
            if used > limit * self.machine.policy.memory_fraction:  # what it only shares is no reason to kill it
                used = charged_bytes(used, self.process.pid)
            self.handle(events.MemoryMeasured(used))
        pause_s = next(pause_s for fraction, pause_s in _PAUSES if used >= limit * fraction)
        # Like the other nannies of this loop, so that they wake it once.
        in_s = on_the_second(pause_s, time.time())
        self._check = asyncio.get_running_loop().call_later(in_s, self._watch_memory)

    # -- actions -----------------------------------------------------------------------

    def _spawn_worker(self) -> None:
        self._scheduler = ""
        threads = dict.fromkeys(THREAD_VARIABLES, str(self._settings.nthreads))
        # Only now is our own address known.
        told = msgspec.structs.replace(self._settings, nanny=self.address, defaults=threads)
        try:
            self.process = self._fork_server.spawn(told, self._hear)
        except ConfigError as error:
            self.process = None
            asyncio.get_running_loop().call_soon(self._exited, 1, str(error))

    def _send_signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self._fork_server.send_signal(self.process, number)

    def _wake_at(self, action: actions.WakeAt) -> None:
        if self._wake is not None:
            self._wake.cancel()
        loop = asyncio.get_running_loop()
        self._wake = loop.call_at(action.when_s, self._woken, action.when_s)

    def _woken(self, when_s: float) -> None:
        # The loop's clock may be a hair short of the time that it was told.
        self._wake = None
        self.handle(events.TimePassed(max(when_s, self._now_s())))

    def _report_exit(self, action: actions.ReportExit) -> None:
        if not self._scheduler:  # nobody knew this worker
            return
        task = self.own(self._tell_scheduler(self._scheduler, action), name="report exit")
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def _tell_scheduler(self, scheduler: str, action: actions.ReportExit) -> None:
        try:
            await self.pool.request(
                scheduler,
                "worker_exited",
                timeout_s=_REPORT_S,
                worker=action.address,
                reason=action.reason,
                expected=action.expected,
            )
        except DistributedError as error:
            logger.debug("cannot tell the scheduler that %s ended: %s", action.address, error)

    def _end_nanny(self, action: actions.EndNanny) -> None:
        if self.machine.state == "given-up" and self.status != "starting":
            logger.error("giving up %s: %s", self.name or "the worker", action.reason)
        self.exit_code = self.exit_code or action.exit_code
        self._close_soon(action.reason)

    # -- operations --------------------------------------------------------------------

    @operation
    async def identity(self) -> dict[str, Any]:
        """Say who this is, and how its worker is: ``state``, ``worker`` (address), ``worker_pid``,
        ``last_exit``.
        """
        return {
            **await super().identity(),
            "name": self.name,
            "pid": os.getpid(),
            "scheduler": self._scheduler or self._settings.scheduler,
            "state": self.machine.state,
            "worker": self.worker_address,
            "worker_pid": self.process.pid if self.process and self.process.is_alive else None,
            "restarts": self.machine.restarts,
            "last_exit": self.machine.last_exit,
            "memory_limit": self.machine.memory_limit,
            "job_id": self._settings.job_id,
        }

    @operation
    async def kill(self, timeout_s: float = 5.0) -> str:
        """End the worker process, by force after ``timeout_s`` seconds; it stays away until
        ``instantiate``.
        """
        self.handle(events.StopAsked(self._now_s(), timeout_s))
        while self.machine.has_process:
            await self._change()
        return "OK"

    @operation
    async def instantiate(self) -> str:
        """Start the worker process; returns once it is registered.  Raises ValueError if there is
        one already.
        """
        if self.machine.state in {"starting", "running"}:
            raise ValueError(f"the worker at {self.worker_address} is alive; kill it first, or restart it")
        self.handle(events.StartAsked(self._now_s()))
        await self._until_running()
        return "OK"

    @operation
    async def restart(self, timeout_s: float = 30.0) -> str:
        """Replace the worker process by a fresh one; returns once that is registered.

        The old one has two seconds to say goodbye.  Raises RequestTimeoutError if the new one is
        not registered after ``timeout_s`` seconds.
        """
        self.handle(events.RestartAsked(self._now_s(), min(2.0, timeout_s)))
        try:
            await asyncio.wait_for(self._until_running(), timeout_s)
        except asyncio.TimeoutError as error:
            raise RequestTimeoutError(
                f"the worker of {self.address} did not register again within {timeout_s:g} s"
            ) from error
        return "OK"


def _center(ip: str | None, port: int | None) -> str | None:
    """The founding arguments as one address; ``ip`` may be ``"host:port"``.  Raises ConfigError."""
    if ip is None:
        return None
    host, number = parse_address(ip, port)
    return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"


def _secret_of(worker: Mapping[str, Any]) -> bytes | None:
    """The secret in the cluster file, None if there is no such file.  Raises ConfigError."""
    path = worker.get("cluster_file")
    return ClusterFile.read(Path(path)).secret_bytes if path else None


def _told(worker: dict[str, Any]) -> dict[str, Any]:
    """What a worker process is told, with its defaults where the caller has said nothing."""
    told = {"log_level": "WARNING", **worker}
    for key in ("memory_limit", "resources", "environment"):
        if told.get(key) is None:
            told.pop(key, None)
    if told.get("cluster_file") is not None:
        told["cluster_file"] = str(told["cluster_file"])
    return told
