"""The scheduler's control operations: questions about its state, and data and workers moved on request."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import random
import socket
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, ClassVar

from tornado.ioloop import IOLoop

from distributed.comm import Connection
from distributed.daemon import Daemon, operation
from distributed.errors import CommError, DistributedError, NoWorkersError, RequestTimeoutError
from distributed.messages import DataScattered
from distributed.payloads import Payload
from distributed.scheduler import liveness, queries
from distributed.scheduler.actions import Action, Answer, ToClient, ToWorker
from distributed.scheduler.events import (
    ClientMessages,
    DataMissing,
    Event,
    RebalanceWanted,
    ReplicateWanted,
    RestartWanted,
    RetireWanted,
    WorkerMessages,
)
from distributed.scheduler.machine import SchedulerMachine
from distributed.wire.failure import dump_error, load_error

__all__ = ["Control", "RegisteredWorker"]

logger = logging.getLogger(__name__)


class RegisteredWorker:
    """What the daemon knows of a registered worker; ``info`` as given at its registration.

    ``exit``: a future of how its process ended and whether that was expected, as its nanny tells; ``gone``: set when
    it is not registered any more; ``retired``: it was told to go; ``heartbeat_s``: the period that it was told last.
    """

    def __init__(self, connection: Connection, info: dict[str, Any]) -> None:
        self.connection = connection
        self.info = info
        self.last_seen_s = time.monotonic()
        self.heartbeat_s = liveness.HEARTBEAT_S
        self.goodbye: str | None = None
        self.retired = False
        self.exit: asyncio.Future[tuple[str, bool]] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()


class Control(Daemon):
    """The part of the Scheduler that answers requests; it owns the machine and carries out its actions."""

    kind: ClassVar[str] = "Scheduler"
    unpickles: ClassVar[bool] = False
    machine: SchedulerMachine
    name: str

    def __init__(self, *, loop: IOLoop | None, host: str | None, secret: bytes | None) -> None:
        super().__init__(loop=loop, host=host, secret=secret)
        self.workers: dict[str, RegisteredWorker] = {}
        self.clients: dict[str, Connection] = {}
        self.launched: set[str] = set()
        self._watchers: set[Connection] = set()
        self._answers_due: dict[int, asyncio.Future[Any]] = {}
        self._tokens = itertools.count(1)
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._is_undecided = False

    # -- the machine -----------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Give an event to the machine and carry out what it decides."""
        if self._is_undecided:
            self._decide()
        for action in self.machine.handle(event):
            self._perform(action)

    def take(self, connection: Connection, event: ClientMessages | WorkerMessages) -> None:
        """Give messages to the machine, which decides at the end of the turn, about all that came in it."""
        self.machine.take(event)
        if not self._is_undecided:
            self._is_undecided = True
            connection.poller.at_end(self._decide_now)

    def _decide(self) -> None:
        self._is_undecided = False
        for action in self.machine.decide():
            self._perform(action)

    def _decide_now(self) -> None:
        if not self._is_undecided:  # another event could not wait
            return
        try:
            self._decide()
        except Exception as error:  # noqa: BLE001 - a callback of the poller: nobody above would end us
            self.report_bug(error, "deciding")

    def _perform(self, action: Action) -> None:
        # A peer that has just gone is an event on its way: what was meant for it is dropped.
        with contextlib.suppress(CommError):
            if isinstance(action, ToWorker):
                if worker := self.workers.get(action.address):
                    worker.connection.send(*action.messages)
            elif isinstance(action, ToClient):
                if connection := self.clients.get(action.client):
                    connection.send(*action.messages)
            else:
                self._settle(action)

    def _settle(self, answer: Answer) -> None:
        due = self._answers_due.pop(answer.token, None)
        if due is None or due.done():
            return
        if answer.error is not None:
            due.set_exception(load_error(answer.error, unpickle=False))
        else:
            due.set_result(answer.result)

    async def _ask(self, make: Any) -> Any:
        """Handle the event ``make(token)`` and wait for the machine's answer to it."""
        token = next(self._tokens)
        due = self._answers_due[token] = asyncio.get_running_loop().create_future()
        try:
            self.handle(make(token))
            return await due
        finally:
            self._answers_due.pop(token, None)

    # -- questions -------------------------------------------------------------------------------------------------

    @operation
    async def identity(self) -> dict[str, Any]:
        """Say who this is, and who the workers are.

        A worker is ``adopted`` if no launcher of this cluster submitted its job (``job_id``; "" if it has none).
        """
        workers = {
            address: {**worker.info, "adopted": worker.info["job_id"] not in self.launched}
            for address, worker in self.workers.items()
        }
        return {
            "type": self.kind,
            "id": self.id,
            "address": self.address,
            "name": self.name,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "clients": len(self.clients),
            "workers": workers,
        }

    @operation
    async def note_launched(self, jobs: list[str]) -> None:
        """A launcher has submitted the jobs of these ids: their workers are not adopted."""
        self.launched.update(jobs)

    @operation
    async def ncores(self, workers: list[str] | None = None) -> dict[str, int]:
        """Return address -> threads, of all workers or the named ones."""
        return {a: self.workers[a].info["nthreads"] for a in self._select(workers)}

    @operation
    async def who_has(self, keys: list[str] | None = None) -> dict[str, list[str]]:
        """Return key -> addresses of the workers that hold it."""
        return queries.who_has(self.machine.state, keys)

    @operation
    async def has_what(self, workers: list[str] | None = None) -> dict[str, list[str]]:
        """Return address -> keys held there."""
        return queries.has_what(self.machine.state, self._select(workers))

    @operation
    async def nbytes(self, keys: list[str] | None = None) -> dict[str, int]:
        """Return key -> bytes of its result, for results in memory."""
        return queries.nbytes(self.machine.state, keys)

    @operation
    async def why(self, key: str) -> str:
        """Say in a sentence what a task is waiting for."""
        return queries.why(self.machine.state, key)

    @operation
    async def wait_for_workers(self, n: int, timeout_s: float | None = None) -> int:
        """Return the number of workers once it is at least ``n``; raises RequestTimeoutError after ``timeout_s``."""
        if len(self.workers) < n:
            enough: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((n, enough))
            try:
                await asyncio.wait_for(enough, timeout_s)
            except asyncio.TimeoutError as error:
                raise RequestTimeoutError(
                    f"waited {timeout_s:g} s for {n} workers, {len(self.workers)} are there"
                ) from error
            finally:
                self._waiters = [item for item in self._waiters if item[1] is not enough]
        return len(self.workers)

    def _wake_waiters(self) -> None:
        for n, enough in self._waiters:
            if len(self.workers) >= n and not enough.done():
                enough.set_result(None)

    def _select(self, workers: Iterable[str] | None) -> list[str]:
        """Addresses of the workers named by address, name or host; all of them for None.  Raises NoWorkersError."""
        if workers is None:
            return list(self.workers)
        chosen: dict[str, None] = {}
        for wanted in workers:
            found = [
                address
                for address, worker in self.workers.items()
                if wanted in (address, worker.info["name"], worker.info["host"], address.rpartition(":")[0])
            ]
            if not found:
                raise NoWorkersError(f"the worker {wanted!r}", list(self.workers))
            chosen.update(dict.fromkeys(found))
        return list(chosen)

    # -- data ------------------------------------------------------------------------------------------------------

    @operation
    async def gather(self, keys: list[str]) -> dict[str, Payload]:
        """Return key -> payload, fetched from the workers: for clients that cannot reach the workers themselves."""
        found: dict[str, Payload] = {}
        tried: dict[str, set[str]] = defaultdict(set)
        while missing := [key for key in keys if key not in found]:
            holders = queries.who_has(self.machine.state, missing)
            batches: dict[str, list[str]] = defaultdict(list)
            for key in missing:
                if choice := [a for a in holders.get(key, []) if a not in tried[key]]:
                    batches[random.choice(choice)].append(key)
            if not batches:
                break
            for address, group in batches.items():
                for key in group:
                    tried[key].add(address)
            results = await asyncio.gather(
                *(self.pool.request(a, "get_data", keys=group) for a, group in batches.items()), return_exceptions=True
            )
            absent: dict[str, list[str]] = {}
            for (address, group), result in zip(batches.items(), results, strict=True):
                if isinstance(result, dict):
                    found.update(result)
                    absent.update({key: [address] for key in group if key not in result})
                elif not isinstance(result, DistributedError):
                    raise result
            if absent:
                self.handle(DataMissing(absent))
        return found

    @operation
    async def scatter(
        self,
        data: dict[str, Payload],
        client: str,
        workers: list[str] | None = None,
        broadcast: bool = False,
        timeout_s: float = 30.0,
    ) -> dict[str, list[str]]:
        """Put data on workers, round robin by threads, for a client that cannot reach them; return key -> addresses.

        Raises NoWorkersError if there is no worker within ``timeout_s`` seconds.
        """
        if not self.workers:
            try:
                await self.wait_for_workers(1, timeout_s)
            except RequestTimeoutError as error:
                raise NoWorkersError("scattered data", [], timeout_s) from error
        left, holders, sizes = dict(data), dict[str, list[str]](), dict[str, int]()
        chosen = self._select(workers)
        while left:
            batches = self._share_out(left, chosen, broadcast)
            replies = await asyncio.gather(
                *(self.pool.request(address, "update_data", data=part) for address, part in batches.items()),
                return_exceptions=True,
            )
            for address, reply in zip(batches, replies, strict=True):
                if isinstance(reply, BaseException):
                    logger.info("scatter: %s took nothing: %s", address, reply)
                    chosen.remove(address)  # the others may do
                    continue
                for key, size in reply["nbytes"].items():
                    sizes[key] = size
                    holders.setdefault(key, []).append(address)
                    left.pop(key, None)
        scattered = {key: (sizes[key], addresses) for key, addresses in holders.items()}
        self.handle(ClientMessages(client, [DataScattered(scattered)]))
        return holders

    def _share_out(self, data: dict[str, Payload], chosen: list[str], broadcast: bool) -> dict[str, dict[str, Payload]]:
        """Address -> its share of the data.  Raises NoWorkersError if no worker is left."""
        present = {address: self.workers[address] for address in chosen if address in self.workers}
        places = [address for address, worker in present.items() for _ in range(worker.info["nthreads"])]
        if not places:
            raise NoWorkersError("scattered data", list(self.workers))
        batches: dict[str, dict[str, Payload]] = defaultdict(dict)
        for i, (key, payload) in enumerate(data.items()):
            for address in present if broadcast else [places[i % len(places)]]:
                batches[address][key] = payload
        return batches

    @operation
    async def replicate(self, keys: list[str], n: int | None = None, workers: list[str] | None = None) -> None:
        """Have each key on ``n`` workers (default: on all of them, or all named ones)."""
        chosen = self._select(workers)
        await self._ask(lambda token: ReplicateWanted(token, keys, n, chosen))

    @operation
    async def rebalance(self, keys: list[str] | None = None, workers: list[str] | None = None) -> None:
        """Move results from full to empty workers until each holds about the same number of bytes."""
        chosen = self._select(workers)
        await self._ask(lambda token: RebalanceWanted(token, keys, chosen))

    # -- workers ---------------------------------------------------------------------------------------------------

    @operation
    async def broadcast(self, message: dict[str, Any], workers: list[str] | None = None) -> dict[str, Any]:
        """Request ``message["op"]`` with the other items of every worker; return address -> status and outcome.

        One dead worker does not spoil the others' answers.
        """
        kwargs = dict(message)
        op = kwargs.pop("op", None)
        if not isinstance(op, str):
            raise TypeError("a broadcast is {'op': name of the operation, argument: value, ...}, and 'op' is missing")

        async def ask(address: str) -> dict[str, Any]:
            try:
                return {"status": "OK", "result": await self.pool.request(address, op, **kwargs)}
            except Exception as error:  # noqa: BLE001 - whatever the operation raised there is its answer
                return {"status": "error", "error": dump_error(error, worker=address)}

        chosen = self._select(workers)
        return dict(zip(chosen, await asyncio.gather(*map(ask, chosen)), strict=True))

    @operation
    async def restart(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """Cancel all tasks, forget all data and start every worker process anew.

        Returns ``restarted`` (a count) and ``kept``: addresses of workers without a nanny, which forget their data
        but go on with the task they are in, since a thread cannot be killed.
        """
        before = dict(self.workers)
        await self._ask(RestartWanted)
        nursed = {address: worker for address, worker in before.items() if worker.info["nanny"]}
        problems = await asyncio.gather(*(self._restart_one(worker, timeout_s) for worker in nursed.values()))
        failed = [f"{address}: {problem}" for address, problem in zip(nursed, problems, strict=True) if problem]
        if failed:
            logger.warning("restart: some workers did not restart: %s", "; ".join(failed))
        with contextlib.suppress(RequestTimeoutError):
            await self.wait_for_workers(len(before) - len(failed), timeout_s)
        kept = [address for address in before if address not in nursed]
        return {"restarted": len(nursed) - len(failed), "kept": kept, "failed": failed}

    async def _restart_one(self, worker: RegisteredWorker, timeout_s: float) -> str:
        """Have a nanny replace its worker; return "" once the old one is gone, else why it is not."""
        worker.retired = True
        try:
            await self.pool.request(worker.info["nanny"], "restart", timeout_s=timeout_s)
            await asyncio.wait_for(worker.gone.wait(), timeout_s)
        except (DistributedError, asyncio.TimeoutError) as error:
            worker.retired = False
            return str(error) or f"it is still there after {timeout_s:g} s"
        return ""

    @operation
    async def retire_workers(self, workers: list[str], reason: str = "retired") -> list[str]:
        """Move what only these workers hold to the others, then tell them (or their nannies) to go.

        Returns the addresses told.  Their unfinished tasks run elsewhere and count no death.
        """
        chosen = self._select(workers)
        logger.info("retiring %s: %s", ", ".join(chosen), reason)
        leaving = {address: self.workers[address] for address in chosen}
        for worker in leaving.values():
            worker.retired = True
        await self._ask(lambda token: RetireWanted(token, chosen))
        answers = await asyncio.gather(
            *(self.pool.request(w.info["nanny"] or a, "terminate", timeout_s=10.0) for a, w in leaving.items()),
            return_exceptions=True,
        )
        for address, answer in zip(leaving, answers, strict=True):
            if isinstance(answer, BaseException) and address in self.workers:
                logger.warning("cannot tell %s to go: %s; it gets no more tasks", address, answer)
        return chosen
