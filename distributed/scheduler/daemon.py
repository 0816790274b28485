"""The Scheduler: the daemon around :class:`~distributed.scheduler.machine.SchedulerMachine`.

It turns connections into events and actions into messages.  All decisions about tasks and data are the machine's; the
control operations are in ``control.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from typing import Annotated, Any

import msgspec
from tornado.ioloop import IOLoop

from distributed.comm import Connection
from distributed.daemon import operation, stream_operation
from distributed.errors import (
    CommError,
    ConfigError,
    DistributedError,
    RemoteProtocolError,
    RequestTimeoutError,
)
from distributed.messages import (
    Goodbye,
    Heartbeat,
    Message,
    Reply,
    Request,
    SetHeartbeat,
    WorkerAppeared,
    WorkerDisappeared,
)
from distributed.scheduler import liveness
from distributed.scheduler.control import Control, RegisteredWorker
from distributed.scheduler.events import (
    ClientJoined,
    ClientLeft,
    ClientMessages,
    WorkerJoined,
    WorkerLeft,
    WorkerMessages,
)
from distributed.scheduler.machine import SchedulerMachine
from distributed.wire.failure import dump_error

__all__ = ["Scheduler"]

logger = logging.getLogger(__name__)

LOOK_S = 30.0
"""Between looks for workers that are stuck."""
LAST_WORDS_S = 2.0
"""How long the nanny of a lost worker is given to say how the process ended."""
_MOST_THREADS = 65536
PING_S = 3.0
_SHOWN = ("name", "nthreads", "memory_limit", "resources", "nanny", "host")
"""What of a registration ``identity`` tells."""


class Scheduler(Control):
    """The cluster's scheduler.

    ``Scheduler(loop=loop).start(8786)`` as in the founding document; ``ip`` is the founding name of ``host``.
    ``allowed_failures``: how many different workers may die under one task before it ends as KilledWorker.
    """

    default_port = 8786

    def __init__(
        self,
        loop: IOLoop | None = None,
        ip: str | None = None,
        *,
        host: str | None = None,
        secret: bytes | None = None,
        name: str = "",
        allowed_failures: int = 3,
    ) -> None:
        super().__init__(loop=loop, host=host or ip, secret=secret)
        self.name = name
        self.machine = SchedulerMachine(allowed_failures=allowed_failures)
        self._addresses: dict[str, str] = {}  # by name: who registers is compared with no other worker

    def start(self, port: int = default_port) -> Any:  # type: ignore[override]
        """Listen on ``port`` (8786 unless told otherwise; 0: any free one) and serve; see ``Daemon.start``."""
        return super().start(port)

    async def _start(self) -> None:
        self.own(self._watch_silence(), name="watch for silent workers")

    # -- workers ---------------------------------------------------------------------------------------------------

    @stream_operation
    async def register_worker(
        self,
        connection: Connection,
        request_id: int,
        *,
        address: str,
        name: str = "",
        nthreads: Annotated[int, msgspec.Meta(ge=1, le=_MOST_THREADS)] = 1,
        memory_limit: int | None = None,
        resources: dict[str, float] | None = None,
        nanny: str | None = None,
        host: str = "",
        pid: int = 0,
        job_id: str = "",
        versions: dict[str, str] | None = None,
        data: dict[str, int] | None = None,
    ) -> None:
        """A worker joins and stays for as long as its connection: its stream of messages.

        ``data`` is what it still holds from before it lost the scheduler: key -> bytes.
        """
        try:
            await self._make_way(address, name)
        except DistributedError as error:
            logger.warning("refused worker %s: %s", address, error)
            connection.send(Reply(request_id, error=dump_error(error)))
            return
        if connection.closed:  # it did not wait for us
            return
        joined = WorkerJoined(
            address,
            name=name or address,
            nthreads=nthreads,
            resources=resources or {},
            host=host or address.rpartition(":")[0],
            memory_limit=memory_limit,
            nanny=nanny,
            data=data or {},
        )
        info = {field: getattr(joined, field) for field in _SHOWN}
        info |= {"pid": pid, "job_id": job_id, "versions": versions or {}}
        worker = RegisteredWorker(connection, info)
        worker.heartbeat_s = liveness.heartbeat_s(len(self.workers) + 1)
        self.workers[address] = worker
        self._addresses[joined.name] = address
        place = {"id": self.id, "name": joined.name, "heartbeat_s": worker.heartbeat_s}
        connection.send(Reply(request_id, place))
        self.handle(joined)
        logger.info("worker %s registered: %s threads at %s", joined.name, nthreads, address)
        self._tell_watchers(self._appeared(address))
        self._wake_waiters()
        await self._follow_worker(worker, address)

    async def _make_way(self, address: str, name: str) -> None:
        """Let go of a dead worker of the same address or name; raises ConfigError if the namesake lives."""
        # Look again after each wait: another one may have come meanwhile.
        while (other := self._in_the_way(address, name)) is not None:
            worker = self.workers[other]
            if other == address:
                self._part_with(worker, address, "a new process registered at its address")
                continue
            if await self._is_alive(other, worker):
                raise ConfigError(
                    f"the worker name {name!r} is taken by the worker at {other}, so the one at {address} cannot have "
                    "it: choose another --name",
                    key="name",
                    value=name,
                )
            await self._lose_worker(worker, other, f"it did not answer when {address} took over its name {name}")

    def _in_the_way(self, address: str, name: str) -> str | None:
        if address in self.workers:
            return address
        return self._addresses.get(name) if name else None

    async def _is_alive(self, address: str, worker: RegisteredWorker) -> bool:
        answers = await self._answers(address)
        if answers is None:  # a task may hold the interpreter for a while
            return liveness.may_live(time.monotonic() - worker.last_seen_s, worker.heartbeat_s)
        return answers

    async def _answers(self, address: str) -> bool | None:
        """Whether somebody answers there; None for not in time."""
        try:
            await self.pool.request(address, "ping", timeout_s=PING_S)
        except RequestTimeoutError:
            return None
        except DistributedError:
            return False
        return True

    async def _follow_worker(self, worker: RegisteredWorker, address: str) -> None:
        reason = "its connection was lost"

        def take(batch: list[Message]) -> None:
            worker.last_seen_s = time.monotonic()
            for message in batch:
                if isinstance(message, Goodbye):
                    worker.goodbye = message.reason
                elif isinstance(message, Heartbeat):
                    self._adjust_heartbeat(worker)
            if self.workers.get(address) is worker:
                self.take(worker.connection, WorkerMessages(address, batch))

        try:
            await worker.connection.follow(take)
        except CommError:
            pass
        except RemoteProtocolError as error:
            reason = f"it sent nonsense: {error}"
            logger.warning("worker %s: %s", address, reason)
        finally:
            worker.connection.abort()
        if self.status == "running":
            await self._lose_worker(worker, address, reason)

    def _adjust_heartbeat(self, worker: RegisteredWorker) -> None:
        """Answer a heartbeat if there are many more, or fewer, workers than when the worker was told its period."""
        count = len(self.workers)
        if liveness.is_outdated(worker.heartbeat_s, count):
            worker.heartbeat_s = liveness.heartbeat_s(count)
            with contextlib.suppress(CommError):
                worker.connection.send(SetHeartbeat(worker.heartbeat_s))

    async def _lose_worker(self, worker: RegisteredWorker, address: str, reason: str) -> None:
        """Let go of a worker, unless that is done, or another one has its address, already."""
        if self.workers.get(address) is not worker:
            return
        if worker.info["nanny"] and worker.goodbye is None and not worker.exit.done():
            # Until we know, it gets nothing more: a task that is handed to the dead falls under suspicion.
            self.handle(WorkerMessages(address, [Heartbeat(worker.info["nthreads"], 0, paused=True)]))
            await asyncio.wait([worker.exit], timeout=LAST_WORDS_S)
            if not worker.exit.done():
                reason = f"{reason}, and its nanny does not say how it ended"
        self._part_with(worker, address, reason)

    def _part_with(self, worker: RegisteredWorker, address: str, reason: str) -> None:
        """Strike a worker off; its own word on the reason counts most, then its nanny's, then ours."""
        if self.workers.get(address) is not worker:
            return
        expected = worker.goodbye is not None or worker.retired
        if worker.goodbye is not None:
            reason = worker.goodbye
        elif worker.exit.done():
            reason, told_expected = worker.exit.result()
            expected = expected or told_expected
        del self.workers[address]
        if self._addresses.get(worker.info["name"]) == address:
            del self._addresses[worker.info["name"]]
        worker.gone.set()
        worker.connection.abort()
        self.pool.forget(address)
        level = logging.INFO if expected else logging.WARNING
        logger.log(level, "worker %s at %s left: %s", worker.info["name"], address, reason)
        where = f"{worker.info['name']} ({address})" if worker.info["name"] != address else address
        self.handle(WorkerLeft(address, f"{where}: {reason}", expected))
        self._tell_watchers(WorkerDisappeared(address, worker.info["name"], reason, expected))

    @operation
    async def worker_exited(self, worker: str, reason: str, expected: bool = False) -> None:
        """A nanny tells how the process of the worker at address ``worker`` ended."""
        known = self.workers.get(worker)
        if known is None or known.exit.done():
            return
        known.exit.set_result((reason, expected))
        self.own(self._bury(worker, known), name=f"bury {worker}")

    async def _bury(self, address: str, worker: RegisteredWorker) -> None:
        """Let go of a worker whose process has ended, even if a child of it keeps its connection open."""
        await asyncio.sleep(LAST_WORDS_S)
        if worker.gone.is_set():
            return
        if await self._answers(address):  # the word was about its predecessor at this address
            worker.exit = asyncio.get_running_loop().create_future()
        else:
            await self._lose_worker(worker, address, "its process has ended")

    async def _watch_silence(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now_s = time.monotonic()
            for address, worker in list(self.workers.items()):
                if liveness.is_stuck(now_s - worker.last_seen_s):
                    reason = f"it was silent for {liveness.SILENCE_S:g} s; its process is stuck"
                    await self._lose_worker(worker, address, reason)

    # -- watchers --------------------------------------------------------------------------------------------------

    def _appeared(self, address: str) -> WorkerAppeared:
        info = self.workers[address].info
        return WorkerAppeared(address, info["name"], info["nthreads"], info["host"], info["pid"], info["job_id"])

    def _tell_watchers(self, message: Message) -> None:
        for connection in self._watchers:
            with contextlib.suppress(CommError):
                connection.send(message)

    @stream_operation
    async def watch(self, connection: Connection, request_id: int) -> None:
        """Tell which workers there are, and from then on who appears and disappears."""
        connection.send(Reply(request_id, "OK"), *[self._appeared(address) for address in self.workers])
        self._watchers.add(connection)
        try:
            while True:
                await connection.read()
        finally:
            self._watchers.discard(connection)

    # -- clients ---------------------------------------------------------------------------------------------------

    @stream_operation
    async def register_client(self, connection: Connection, request_id: int, *, client: str) -> None:
        """A client joins and stays for as long as its connection; requests on it are answered on it."""
        if client in self.clients:
            taken = ConfigError(f"a client with the id {client} is connected already", key="client", value=client)
            connection.send(Reply(request_id, error=dump_error(taken)))
            return
        self.clients[client] = connection
        connection.send(Reply(request_id, {"id": self.id, "address": self.address, "name": self.name}))
        self.handle(ClientJoined(client))
        logger.info("client %s joined: %s", client, connection.peer)
        try:
            await connection.follow(functools.partial(self._take_from_client, client, connection))
        except CommError:
            pass
        finally:
            del self.clients[client]
            if self.status != "closed":
                self.handle(ClientLeft(client))
            logger.info("client %s left", client)

    def _take_from_client(self, client: str, connection: Connection, batch: list[Message]) -> None:
        # Requests are answered in their own time, but only after what was sent before them is done.
        if Request in map(type, batch):
            self._handle_mixed(client, connection, batch)
        else:
            self.take(connection, ClientMessages(client, batch))

    def _handle_mixed(self, client: str, connection: Connection, batch: list[Message]) -> None:
        plain: list[Message] = []
        for message in batch:
            if not isinstance(message, Request):
                plain.append(message)
                continue
            if plain:
                self.take(connection, ClientMessages(client, plain))
                plain = []
            self.own(self._answer_on(connection, message), name=f"operation {message.op}")
        if plain:
            self.take(connection, ClientMessages(client, plain))

    async def _answer_on(self, connection: Connection, request: Request) -> None:
        reply = await self.answer(request)
        with contextlib.suppress(CommError):
            self.reply(connection, reply)
