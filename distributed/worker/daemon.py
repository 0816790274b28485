"""The Worker: the daemon around :class:`~distributed.worker.machine.WorkerMachine`.

It turns what comes from the scheduler, the threads and the peers into events, and carries out the
machine's actions. The operations that others request are in ``operations.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tornado.ioloop import IOLoop

from distributed.capacity import usable_cores
from distributed.clusterfile import ClusterFile
from distributed.daemon import operation
from distributed.errors import AuthenticationError, CommError, RemoteProtocolError
from distributed.messages import Message
from distributed.network import parse_address
from distributed.poller import Poller
from distributed.sharing.segments import live
from distributed.units import format_memory
from distributed.worker import actions, events
from distributed.worker.background import in_thread
from distributed.worker.backlog import Backlog
from distributed.worker.executor import Executor
from distributed.worker.harvest import Harvest
from distributed.worker.heartbeats import Heartbeats
from distributed.worker.joining import Membership, SchedulerSeeker
from distributed.worker.machine import RESUME_BELOW, WorkerMachine
from distributed.worker.memory import charged_memory, give_back_memory, resident_bytes
from distributed.worker.operations import Operations
from distributed.worker.running import TaskRunner
from distributed.worker.stdio import EXIT_WRECKED, StdioGuard
from distributed.worker.transfer import fetch

__all__ = ["EXIT_DEATH_TIMEOUT", "Worker"]

logger = logging.getLogger(__name__)

EXIT_DEATH_TIMEOUT = 3
_EXECUTOR_CLOSE_S = 0.5
_BRINGING = (events.Fetched, events.DataReceived)
"""Events after which more memory may be in use, beside the ends of tasks."""
_PACKAGES = ("distributed", "msgspec", "cloudpickle", "numpy", "pandas")


class Worker(Operations):
    """Runs tasks in ``ncores`` threads and keeps their results.

    ``Worker('192.168.0.1', 8786, loop=loop).start(0)`` as in the founding document; ``start``
    returns a future of the registration.  Further settings:

    ``ip``: the address to listen on and to tell others (default: listen on all, tell the one that
    faces the scheduler); ``local_dir``: where its private folder is made; ``services``: name or
    (name, port) -> class of an object with ``listen(port)`` and ``stop()``, called with the worker;
    ``cluster_file``: the scheduler's addresses and the secret are read there, anew at each attempt;
    ``memory_limit``: bytes, above 85 % of which no task is started; ``resources``: amounts by name;
    ``death_timeout_s``: seconds without a scheduler after which the worker closes with exit code 3,
    None for never; ``nanny``: its nanny's address; ``stdio``: for a process of its own;
    ``shared_memory``: how large data go to and come from processes of this host: ``"read-only"``,
    ``"writable"`` or ``"off"`` (default: ``DLAUNCH_SHARED_MEMORY``, else read-only).
    """

    kind = "Worker"

    def __init__(
        self,
        center_ip: str | None = None,
        center_port: int | None = None,
        ip: str | None = None,
        ncores: int | None = None,
        loop: IOLoop | None = None,
        local_dir: str | None = None,
        services: Mapping[Any, Callable[[Any], Any]] | None = None,
        service_ports: dict[str, int] | None = None,
        name: str | None = None,
        *,
        secret: bytes | None = None,
        cluster_file: str | Path | None = None,
        memory_limit: int | None = None,
        resources: dict[str, float] | None = None,
        death_timeout_s: float | None = 60.0,
        nanny: str | None = None,
        job_id: str = "",
        stdio: StdioGuard | None = None,
        shared_memory: str | None = None,
    ) -> None:
        path = Path(cluster_file) if cluster_file else None
        if secret is None and path is not None:
            secret = ClusterFile.read(path).secret_bytes
        super().__init__(loop=loop, host=ip, secret=secret, shared_memory=shared_memory)
        self.ncores = ncores or usable_cores()
        self.name = name or ""
        self.memory_limit = memory_limit or 0
        self.worker_resources = dict(resources or {})
        self.nanny = nanny
        self.job_id = job_id
        self.services: dict[str, Any] = {}
        self.service_ports = dict(service_ports or {})
        self._services_wanted = dict(services or {})
        self._local_parent = local_dir
        self._stdio = stdio
        self._seeker = SchedulerSeeker(
            _center(center_ip, center_port),
            self._secret,
            describe=self._describe,
            changed=lambda: self.handle(events.SchedulerChanged()),
            cluster_file=path,
            death_timeout_s=death_timeout_s,
        )
        self._membership: Membership | None = None
        self._registered = asyncio.Event()
        self._heartbeats = Heartbeats(self._measure, self._is_quiet)
        self._backlog = Backlog(lambda: self.executor.queued, lambda: self.executor.ended, lambda: self._measure(True))
        self._perform = self._performers()

    # -- life ------------------------------------------------------------------

    @property
    def center(self) -> str:
        """``"host:port"`` of the scheduler: where it is registered, else where it will look
        first.
        """
        if self._membership is not None:
            return self._membership.address
        return self._seeker.addresses[0] if self._seeker.addresses else ""

    @property
    def active(self) -> set[str]:
        """The keys of the tasks that run or wait for a thread."""
        return set(self.machine.active)

    @property
    def facing(self) -> str:
        """The scheduler."""
        return self.center

    async def registered(self) -> str:
        """Wait until the worker is registered; return the scheduler's address.

        Raises CommError with the reason if the worker closes before.
        """
        waits = [
            asyncio.ensure_future(self._registered.wait()),
            asyncio.ensure_future(self.finished()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self._registered.is_set():
            raise CommError(
                f"the worker closed before it could register: {self.close_reason}",
                address=self.center,
            )
        return self.center

    @operation
    async def identity(self) -> dict[str, Any]:
        """Say who this is and how it is set up."""
        return {
            **await super().identity(),
            "name": self.name,
            "nthreads": self.ncores,
            "memory_limit": self.memory_limit,
            "resources": self.worker_resources,
            "scheduler": self.center,
            "nanny": self.nanny,
            "job_id": self.job_id,
            "executing": self.executor.executing,
            "keys": len(self.data),
            "nbytes": self.data.nbytes,
        }

    async def _start(self) -> None:
        self._make_parts()
        for wanted, make in self._services_wanted.items():
            name, number = wanted if isinstance(wanted, tuple) else (wanted, 0)
            service = self.services[name] = make(self)
            service.listen(number)
            self.service_ports[name] = int(getattr(service, "port", None) or number)
        try:
            self._enter(await self._seeker.join())
        except AuthenticationError:
            raise
        except CommError:
            self.exit_code = EXIT_DEATH_TIMEOUT
            raise
        self.own(self._follow_scheduler(), name="follow the scheduler")

    def _make_parts(self) -> None:
        """Make what depends on the address and the loop, which are known only now."""
        self._poller = Poller.current()
        self.machine = WorkerMachine(
            self.address, self.data.held, resources=self.worker_resources, memory_limit=self.memory_limit
        )
        self.make_directory(self._local_parent)
        self.runner = TaskRunner(self.data, self.address, worker=self, early=self.early)
        self.executor = Executor(self.ncores, self.runner, self._wake, name=f"task-{self.name or self.port}")
        self._harvest = Harvest(self.executor, lambda: self._poller.turn(self._collect))

    def _describe(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "name": self.name,
            "nthreads": self.ncores,
            "memory_limit": self.memory_limit or None,
            "resources": self.worker_resources,
            "nanny": self.nanny,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "job_id": self.job_id,
            "versions": _versions(),
            "data": {key: held.nbytes for key, held in self.data.held.items()},
        }

    def _enter(self, membership: Membership) -> None:
        self._membership = membership
        self.name = membership.name
        self._registered.set()
        logger.info("registered with the scheduler at %s as %s", membership.address, membership.name)
        self._heartbeats.every(membership.heartbeat_s)

    async def _follow_scheduler(self) -> None:
        while self.status != "closing":
            assert self._membership is not None
            try:
                await self._listen_to(self._membership)
            except (CommError, RemoteProtocolError) as error:
                reason = str(error)
            if self.status == "closing":
                return
            logger.warning("%s; trying to join it again", reason)
            self._membership.connection.abort()
            self.handle(events.SchedulerLost())
            await self._seeker.pause(self._membership)
            try:
                self._enter(await self._seeker.join())
            except CommError as error:
                logger.error("%s", error)
                self.exit_code = EXIT_DEATH_TIMEOUT
                self._close_soon(str(error))
                return

    async def _listen_to(self, membership: Membership) -> None:
        def take(messages: list[Message]) -> None:
            self.handle(events.SchedulerMessages(messages))

        take(membership.messages)
        await membership.connection.follow(take)

    async def _close(self, reason: str) -> None:
        self._heartbeats.stop()
        self._backlog.stop()
        if hasattr(self, "executor"):  # else it never started
            self._collect()
            self.handle(events.Closing(reason))
            self.executor.close(_EXECUTOR_CLOSE_S)
            self.remove_directory()
        if self._membership is not None:
            await self._membership.connection.close()
        for service in self.services.values():
            service.stop()
        if self._stdio is not None:
            self._stdio.close()

    # -- events ----------------------------------------------------------------

    def handle(self, event: events.Event) -> None:
        """Give an event to the machine and carry out what it decides."""
        if isinstance(event, _BRINGING):
            self._heartbeats.stir()
        for action in self.machine.handle(event):
            self._perform[type(action)](action)

    def _wake(self) -> None:
        """Called in a task's thread: outcomes are waiting."""
        if self._stdio is not None and self._stdio.is_wrecked():
            os._exit(EXIT_WRECKED)  # the loop is deaf, nothing else ends this process
        with contextlib.suppress(RuntimeError):  # the loop has ended before the task
            self._poller.call(self._collect)

    def _collect(self) -> None:
        outcomes = self._harvest.take()
        if not outcomes:
            return
        if self._stdio is not None and (closed := self._stdio.repair()):
            logger.warning("a task closed the descriptors %s of this process; they are open again", closed)
        try:
            self.handle(events.Executed(outcomes))
        except Exception as error:  # noqa: BLE001 - a callback of the loop: nobody above would end us
            self.report_bug(error, "handling the ends of tasks")

    def _is_quiet(self) -> bool:
        machine = self.machine
        return not (machine.active or machine.waiting or machine.paused)

    def _measure(self, due: bool) -> None:
        if self.memory_limit and live():
            self.own(self._measure_shared(due), name="measure memory")
        else:
            self.handle(events.MemoryMeasured(resident_bytes(), self.executor.executing, due))

    async def _measure_shared(self, due: bool) -> None:
        used = await in_thread(charged_memory, RESUME_BELOW * self.memory_limit)
        self.handle(events.MemoryMeasured(used, self.executor.executing, due))

    # -- actions ---------------------------------------------------------------

    def _performers(self) -> dict[type, Callable[[Any], None]]:
        return {
            actions.LearnFunctions: self._learn_functions,
            actions.Drop: self._drop,
            actions.Execute: self._execute,
            actions.Follow: lambda action: self.executor.follow(action.pairs),
            actions.Withdraw: self._withdraw,
            actions.Fetch: self._fetch,
            actions.Pause: self._pause,
            actions.Resume: self._resume,
            actions.SendScheduler: self._send_scheduler,
            actions.Answer: self._answer,
            actions.Beat: lambda action: self._heartbeats.every(action.period_s),
            actions.Leave: self._leave,
        }

    def _learn_functions(self, action: actions.LearnFunctions) -> None:
        self.runner.learn(action.functions)

    def _drop(self, action: actions.Drop) -> None:
        self.early.dropped(action.keys)

    def _execute(self, action: actions.Execute) -> None:
        self._heartbeats.stir()
        self.executor.push(action.tasks)  # a thread that wakes waits until this one sleeps: what can be done is done
        self._backlog.stir()

    def _withdraw(self, action: actions.Withdraw) -> None:
        if taken := self.executor.withdraw(action.tasks):
            self.handle(events.Withdrawn(taken))

    def _fetch(self, action: actions.Fetch) -> None:
        self.own(self._fetch_and_tell(action), name=f"fetch from {action.address}")

    async def _fetch_and_tell(self, action: actions.Fetch) -> None:
        self.handle(await fetch(self.pool, action.address, action.keys, action.nbytes, self.exchange))

    def _pause(self, action: actions.Pause) -> None:
        self.executor.pause()
        self._heartbeats.stir()  # until there is memory again
        logger.warning(
            "%s of memory are in use, close to the limit of %s: starting no task until it is less",
            format_memory(action.memory),
            format_memory(self.memory_limit),
        )
        self.own(in_thread(give_back_memory), name="give back memory")

    def _resume(self, action: actions.Resume) -> None:
        self.executor.resume()
        logger.info("%s of memory are in use: starting tasks again", format_memory(action.memory))

    def _send_scheduler(self, action: actions.SendScheduler) -> None:
        self._send(action.messages)

    def _send(self, messages: list[Message]) -> None:
        if self._membership is not None:
            # A connection just lost is an event on its way: nobody waits for these messages any
            # more.
            with contextlib.suppress(CommError):
                self._membership.connection.send(*messages)

    def _answer(self, action: actions.Answer) -> None:
        self.own(self._answer_scheduler(action), name=f"operation {action.request.op}")

    async def _answer_scheduler(self, action: actions.Answer) -> None:
        self._send([await self.answer(action.request)])

    def _leave(self, action: actions.Leave) -> None:
        logger.info("the scheduler sends this worker away: %s", action.reason)
        self._close_soon(action.reason)


def _center(ip: str | None, port: int | None) -> list[str]:
    """The founding arguments as addresses; ``ip`` may be ``"host:port"``.  Raises ConfigError."""
    if ip is None:
        return []
    host, number = parse_address(ip, port)
    return [f"[{host}]:{number}" if ":" in host else f"{host}:{number}"]


def _versions() -> dict[str, str]:
    # Only what is loaded: an import costs time and memory in each of many workers.
    loaded = {name: sys.modules[name] for name in _PACKAGES if name in sys.modules}
    versions = {
        "dlaunch" if name == "distributed" else name: str(getattr(module, "__version__", "?"))
        for name, module in loaded.items()
    }
    return {"python": ".".join(map(str, sys.version_info[:3])), **versions}
