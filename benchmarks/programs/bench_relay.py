"""The stateless relay: the messages of a no-op task over the same kind of processes, and nothing else.

    client -> relay -> workers -> relay -> client

The client submits, the relay tells a worker to run, the worker says that it has finished, the relay says that the
result is there; all of them decode what they get and make what they send: a message for each task, or, as our client
and scheduler do for tasks of one function, a block of many, column by column.  Nobody pickles, runs, remembers or
decides anything.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from typing import Any

from bench_cases import Figures, check, ranks
from bench_measure import cpu_by_role

from distributed.comm import connect
from distributed.connection import HIGH_WATER, Connection
from distributed.daemon import Daemon, stream_operation
from distributed.messages import (
    BlockFinished,
    KeyInMemory,
    KeysInMemory,
    Message,
    Reply,
    Request,
    RunBlock,
    RunTask,
    SubmitBlock,
    SubmitTasks,
    TaskFinished,
    TaskSpec,
)

CASES = ("throughput", "latency")
SECRET = b"benchmark" * 4
HOST = "127.0.0.1"
TASKS = {1: 3_000, 10: 20_000, 100: 100_000, 1_000: 200_000}
ARGS, RESULT, FUNCTION = b"a" * 30, b"r" * 8, "f" * 32


class Relay(Daemon):
    """Passes on what clients submit to one worker after the other, and what workers finish to the client."""

    kind = "Relay"

    def __init__(self) -> None:
        super().__init__(host=HOST, secret=SECRET)
        self.workers: list[Connection] = []
        self.client: Connection | None = None

    @stream_operation
    async def work(self, connection: Connection, request_id: int) -> None:
        """Serve a worker."""
        self.workers.append(connection)
        connection.send(Reply(request_id))
        while True:
            done = await connection.read()
            assert self.client is not None
            self.client.send(*[_news(message) for message in done])

    @stream_operation
    async def submit(self, connection: Connection, request_id: int, *, workers: int) -> None:
        """Serve the client, once so many workers have joined."""
        self.client = connection
        while len(self.workers) < workers:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        connection.send(Reply(request_id))
        turns = itertools.cycle(self.workers)
        while True:
            for submission in await connection.read():
                next(turns).send(*_orders(submission))


def _orders(message: Message) -> list[Message]:
    """What a worker is told of a submission."""
    if isinstance(message, SubmitBlock):
        return [RunBlock(message.function, 1, message.keys, message.args, [0] * len(message.keys))]
    assert isinstance(message, SubmitTasks)
    return [RunTask(task.key, 1, task.function, task.args) for task in message.tasks]


def _end(message: Message) -> Message:
    """What a worker says when it has run what it was told."""
    if isinstance(message, RunBlock):
        count = len(message.keys)
        runs = list(range(message.run, message.run + count))
        return BlockFinished("int", 1e-5 * count, message.keys, runs, [28] * count, [RESULT] * count)
    assert isinstance(message, RunTask)
    return TaskFinished(message.key, message.run, 28, 1e-5, "int", RESULT)


def _news(message: Message) -> Message:
    """What the client is told of an end."""
    if isinstance(message, BlockFinished):
        return KeysInMemory(message.type_name, [HOST], message.keys, message.nbytes, message.results)
    assert isinstance(message, TaskFinished)
    return KeyInMemory(message.key, message.type_name, message.nbytes, [HOST], message.result)


def _submission(keys: list[str], in_blocks: bool) -> Message:
    if in_blocks:
        return SubmitBlock(FUNCTION, keys, [ARGS] * len(keys))
    return SubmitTasks([TaskSpec(key, FUNCTION, ARGS) for key in keys])


def _relay(pipe: Pipe) -> None:
    async def main() -> None:
        relay = Relay()
        await relay.start(0)
        pipe.send(relay.address)
        await relay.finished()

    asyncio.run(main())


def _worker(address: str) -> None:
    async def main() -> None:
        connection = await _join(address, "work")
        while True:
            connection.send(*[_end(message) for message in await connection.read()])

    try:
        asyncio.run(main())
    except Exception:  # noqa: BLE001 - the relay has ended
        os._exit(0)


async def _join(address: str, op: str, **kwargs: Any) -> Connection:
    connection = await connect(address, secret=SECRET)
    connection.send(Request(op, kwargs, 1))
    await connection.read()
    return connection


class Processes:
    """A relay and its workers."""

    def __init__(self, workers: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        self.relay = spawn.Process(target=_relay, args=(theirs,), daemon=True)
        self.relay.start()
        self.address: str = ours.recv()
        self.workers: list[BaseProcess] = [
            spawn.Process(target=_worker, args=(self.address,), daemon=True) for _ in range(workers)
        ]
        for worker in self.workers:
            worker.start()

    def pids(self) -> dict[str, list[int]]:
        """Return the pids by role."""
        workers = [worker.pid or 0 for worker in self.workers]
        return {"client": [os.getpid()], "scheduler": [self.relay.pid or 0], "workers": workers}

    def close(self) -> None:
        """End them."""
        for process in (self.relay, *self.workers):
            process.kill()
            process.join()


async def _stream(connection: Connection, tasks: int, batch: int, in_blocks: bool) -> float:
    """Send tasks in batches, as fast as they are taken; return the seconds until all results are here."""
    keys = [f"increment-{number:032x}" for number in range(tasks)]
    began = time.perf_counter()
    reader = asyncio.ensure_future(_collect(connection, tasks))
    for start in range(0, tasks, batch):
        connection.send(_submission(keys[start : start + batch], in_blocks))
        await asyncio.sleep(0)  # the batch goes out by itself
        await connection.drain(HIGH_WATER)
    results = await reader
    taken_s = time.perf_counter() - began
    check(sorted(results), keys)
    return taken_s


async def _collect(connection: Connection, tasks: int) -> list[str]:
    keys: list[str] = []
    while len(keys) < tasks:
        for message in await connection.read():
            if isinstance(message, KeysInMemory):
                keys += message.keys
            else:
                assert isinstance(message, KeyInMemory)
                keys.append(message.key)
    return keys


async def _one_by_one(connection: Connection, count: int, in_blocks: bool) -> list[float]:
    taken_s = []
    for number in range(count):
        began = time.perf_counter()
        connection.send(_submission([f"increment-{number:032x}"], in_blocks))
        await connection.read()
        taken_s.append(time.perf_counter() - began)
    return taken_s


async def _measure(processes: Processes, names: Iterable[str], scale: float, in_blocks: bool) -> dict[str, Figures]:
    connection = await _join(processes.address, "submit", workers=len(processes.workers))
    await _stream(connection, 1_000, 100, in_blocks)  # everything is imported now
    found: dict[str, Figures] = {}
    if "throughput" in names:
        figures = found["throughput"] = {}
        for batch, full in TASKS.items():
            count = max(batch, int(full * scale))
            before = cpu_by_role(processes.pids())
            name = "tasks/s" if batch == 1_000 else f"tasks/s in batches of {batch}"
            figures[name] = count / await _stream(connection, count, batch, in_blocks)
            after = cpu_by_role(processes.pids())
        figures |= {f"{role} CPU us per task": (after[role] - before[role]) / count * 1e6 for role in after}
    if "latency" in names:
        found["latency"] = ranks(await _one_by_one(connection, int(500 * scale), in_blocks))
    connection.abort()
    return found


def measure_blocks(names: Iterable[str], scale: float, workers: int) -> dict[str, Any]:
    """Return the figures of the relay, by case, tasks in blocks."""
    return measure(names, scale, workers, in_blocks=True)


def measure(names: Iterable[str], scale: float, workers: int, in_blocks: bool = False) -> dict[str, Any]:
    """Return the figures of the relay, by case, a message for each task unless ``in_blocks``."""
    processes = Processes(workers)
    try:
        return asyncio.run(_measure(processes, names, scale, in_blocks))
    finally:
        processes.close()
