"""Workers and clients that are nothing but their connections, thousands in one process, for the real scheduler.

    python bench_simulated.py CLUSTER_FILE workers COUNT

A simulated worker registers over a connection of its own, handshake and all, and says of each task at once that it has
finished.  The process prints ``ready SECONDS`` when all have registered, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import random
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

from distributed.clock import on_the_second
from distributed.clusterfile import ClusterFile
from distributed.comm import connect
from distributed.connection import Connection
from distributed.errors import CommError
from distributed.messages import (
    BlockFinished,
    Heartbeat,
    KeyInMemory,
    KeysInMemory,
    Message,
    Reply,
    Request,
    RunBlock,
    RunTask,
    SetHeartbeat,
    SubmitBlock,
    TaskFinished,
)
from distributed.wire.payload import dumps
from distributed.worker.heartbeats import QUIET_S

RESULT = pickle.dumps(None)
NO_OP_S = 1e-5
DIALLING = 1_000  # at once, so that 10,000 do not all wait for one handshake at the other end


def answers(messages: list[Message]) -> list[Message]:
    """Return what a worker says that has run at once all that it was told to run."""
    said: list[Message] = []
    for message in messages:
        if isinstance(message, RunTask):
            said.append(TaskFinished(message.key, message.run, 16, NO_OP_S, "NoneType", RESULT))
        elif isinstance(message, RunBlock):
            count = len(message.keys)
            runs = list(range(message.run, message.run + count))
            results = [RESULT] * count
            said.append(BlockFinished("NoneType", NO_OP_S * count, message.keys, runs, [16] * count, results))
    return said


class Beating:
    """The heartbeats of one worker: one soon, and then those of a worker that has nothing to do."""

    def __init__(self, connection: Connection, period_s: float) -> None:
        self._connection = connection
        self._timer: asyncio.TimerHandle | None = None
        self.set(period_s)

    def set(self, period_s: float) -> None:
        """Send one so often."""
        if self._timer is not None:
            self._timer.cancel()
        self._period_s = period_s
        self._again(random.random() * period_s)

    def _again(self, in_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(on_the_second(in_s, time.time()), self._beat)

    def _beat(self) -> None:
        if not self._connection.closed:
            self._connection.send(Heartbeat(0, 50_000_000))
            self._again(max(self._period_s, QUIET_S))


class Crowd:
    """So many connections to one scheduler."""

    def __init__(self, path: str) -> None:
        cluster = ClusterFile.read(Path(path))
        self.address, self.secret = cluster.addresses[0], cluster.secret_bytes
        self._dialling = asyncio.Semaphore(DIALLING)
        self.tasks: list[asyncio.Task[None]] = []

    async def worker(self, number: int) -> None:
        """Register worker ``number`` and answer for it from then on."""
        name = f"simulated-{number}"
        about = {"address": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:4000", "name": name, "nthreads": 1}
        connection, reply = await self._join("register_worker", **about)
        beating = Beating(connection, reply.result["heartbeat_s"])
        self.tasks.append(asyncio.ensure_future(self._work(connection, beating)))

    async def client(self, number: int) -> Connection:
        """Register client ``number``."""
        return (await self._join("register_client", client=f"simulated-{number}"))[0]

    async def _join(self, op: str, **about: Any) -> tuple[Connection, Reply]:
        async with self._dialling:
            connection = await connect(self.address, secret=self.secret, timeout_s=60.0)
            connection.send(Request(op, about, 1))
            reply, *rest = await connection.read()
            assert isinstance(reply, Reply)
            assert reply.error is None, reply.error
            connection.unread(rest)
        return connection, reply

    async def _work(self, connection: Connection, beating: Beating) -> None:
        def take(messages: list[Message]) -> None:
            for message in messages:
                if isinstance(message, SetHeartbeat):
                    beating.set(message.period_s)
            if found := answers(messages):
                connection.send(*found)

        try:
            await connection.follow(take)
        except CommError:
            return


async def submit(connection: Connection, who: int, count: int) -> None:
    """Submit tasks as client ``who`` and wait for all their results."""
    function = "f" * 32
    keys = [f"task-{who}-{number:024x}" for number in range(count)]
    connection.send(SubmitBlock(function, keys, [RESULT] * count, {function: dumps(sum)}))
    while count > 0:
        for message in await connection.read():
            if isinstance(message, KeyInMemory):
                count -= 1
            elif isinstance(message, KeysInMemory):
                count -= len(message.keys)


async def _workers(path: str, count: int) -> None:
    crowd = Crowd(path)
    began = time.perf_counter()
    await asyncio.gather(*(crowd.worker(number) for number in range(count)))
    print(f"ready {time.perf_counter() - began}", flush=True)
    await asyncio.Event().wait()


async def _clients(path: str, count: int, tasks: int) -> None:
    crowd = Crowd(path)
    began = time.perf_counter()
    connections = await asyncio.gather(*(crowd.client(number) for number in range(count)))
    print(f"ready {time.perf_counter() - began}", flush=True)
    began = time.perf_counter()
    await asyncio.gather(*(submit(connection, who, tasks // count) for who, connection in enumerate(connections)))
    taken_s = time.perf_counter() - began
    print(json.dumps({"tasks": tasks // count * count, "seconds": taken_s}), flush=True)


def main(path: str, role: str, count: int, tasks: int = 0) -> None:
    """Be a crowd until the end of standard input."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    asyncio.run(_workers(path, count) if role == "workers" else _clients(path, count, tasks))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
