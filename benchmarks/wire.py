"""What the wire costs between two processes on this machine: round trips, messages, bytes.

    python -m benchmarks.wire [--seconds 1.0]

Prints round trips per second of the smallest request, ``TaskFinished`` messages per second in
batches of several sizes, and GB per second of one large buffer, over 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection as Pipe

from distributed.comm import connect
from distributed.connection import HIGH_WATER, Connection
from distributed.daemon import Daemon, operation, stream_operation
from distributed.messages import Reply, Request, TaskFinished
from distributed.payloads import Buffer
from distributed.pool import ConnectionPool

SECRET = b"benchmark" * 4
BUFFER_BYTES = 2**28
BATCHES = (1, 10, 100, 1000)


class Sink(Daemon):
    """Answers requests, counts messages, swallows and sends buffers."""

    kind = "Sink"

    @operation
    async def swallow(self, data: Buffer) -> int:
        """Return the size of ``data``."""
        return len(data)

    @operation
    async def pour(self) -> Buffer:
        """Return a large buffer."""
        return Buffer(bytes(BUFFER_BYTES))

    @stream_operation
    async def count(self, connection: Connection, request_id: int, total: int) -> None:
        """Read ``total`` messages, then say so."""
        while total > 0:
            total -= len(await connection.read())
        connection.send(Reply(request_id))
        await connection.drain()


def serve(pipe: Pipe) -> None:
    """Run a sink in this process until it is told to terminate."""

    async def main() -> None:
        sink = Sink(host="127.0.0.1", secret=SECRET)
        await sink.start(0)
        pipe.send(sink.address)
        await sink.finished()

    asyncio.run(main())


async def rate(step: Callable[[], Awaitable[object]], seconds: float) -> float:
    """Return how often per second ``step`` can be done one after the other."""
    await step()
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        await step()
        count += 1
    return count / spent


async def messages_per_s(address: str, batch: int, total: int) -> float:
    """Return how many ``TaskFinished`` per second arrive, sent ``batch`` at a time."""
    connection = await connect(address, secret=SECRET)
    messages = [TaskFinished(f"inc-{i}", i, 28, 0.001, "int", b"x" * 20) for i in range(batch)]
    connection.send(Request("count", {"total": total}, 1))
    await connection.drain()
    start = time.perf_counter()
    for _ in range(total // batch):
        connection.send(*messages)
        await asyncio.sleep(0)
        await connection.drain(HIGH_WATER)
    await connection.read()
    spent = time.perf_counter() - start
    await connection.close()
    return total / spent


async def measure(address: str, seconds: float) -> None:
    """Print all figures."""
    pool = ConnectionPool(SECRET)
    trips = await rate(lambda: pool.request(address, "ping"), seconds)
    print(f"round trips           {trips:12,.0f} /s     {1e6 / trips:8.0f} us each")
    for batch in BATCHES:
        total = int(seconds * 20_000 * min(batch, 20))
        got = await messages_per_s(address, batch, total)
        print(f"TaskFinished by {batch:5d} {got:12,.0f} /s     {1e6 / got:8.2f} us each")
    data = Buffer(bytearray(BUFFER_BYTES))
    for name, step in (
        ("send", lambda: pool.request(address, "swallow", data=data)),
        ("fetch", lambda: pool.request(address, "pour")),
    ):
        got = await rate(step, seconds)
        print(f"{name + ' 256 MiB':16}      {got * BUFFER_BYTES / 1e9:12.2f} GB/s")
    await pool.request(address, "terminate")
    await pool.close()


def main() -> None:
    """Start the sink and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="about, for each figure")
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    process.start()
    asyncio.run(measure(ours.recv(), arguments.seconds))
    process.join(10)


if __name__ == "__main__":
    main()
