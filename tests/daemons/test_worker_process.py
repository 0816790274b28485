"""A process that is a worker: what its tasks do to it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager

from distributed.messages import Goodbye, TaskFinished
from distributed.wire.payload import loads
from tests.aio import run_async, until
from tests.daemons.workerbed import SECRET, StubScheduler

PROGRAM = """
import asyncio, logging, sys
from distributed.worker import StdioGuard, Worker
logging.basicConfig(level="INFO")

async def main():
    guard = StdioGuard()
    worker = Worker("127.0.0.1", int(sys.argv[1]), ncores=1, secret=b"w" * 32, stdio=guard)
    await worker.start(0)
    await worker.finished()

asyncio.run(main())
"""


class Address:
    def __init__(self, address):
        self.address = address


@asynccontextmanager
async def process():
    """A stub, the address of a worker in a process of its own, and that process."""
    stub = StubScheduler()
    await stub.start(0)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(stub.port), stdin=-1, stdout=-1, stderr=-1
    )
    try:
        await until(lambda: stub.registered)
        yield stub, Address(stub.registered[0]["address"]), child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()
        await stub.close()


async def is_executing(stub, worker):
    return (await stub.pool.request(worker.address, "identity"))["executing"] == 1


async def end(stub, worker, child):
    await stub.pool.request(worker.address, "terminate")
    out, err = await asyncio.wait_for(child.communicate(), 10)
    assert child.returncode == 0, err
    return out.decode(), err.decode()


def test_prints_reach_the_log_stdin_is_empty_and_closed_streams_come_back():
    # The functions travel by value: the worker's process does not import this module.
    close, read = (eval(text) for text in ("lambda: __import__('os').closerange(0, 3)", "input"))

    async def test():
        assert SECRET == b"w" * 32
        async with process() as (stub, worker, child):
            stub.run(worker, print, "hello from a task", key="p1")
            await stub.wait_for(worker, TaskFinished, "p1")
            stub.run(worker, close, key="close")
            await stub.wait_for(worker, TaskFinished, "close")
            stub.run(worker, read, key="read")
            await until(lambda: [m for m in stub.said[worker.address] if m.key == "read"])
            stub.run(worker, print, "and again", key="p2")
            await stub.wait_for(worker, TaskFinished, "p2")
            out, err = await end(stub, worker, child)
            assert out == "hello from a task\nand again\n"
            assert "a task closed the descriptors [0, 1, 2]" in err
            assert isinstance(stub.said[worker.address][-1], Goodbye)

    run_async(test())


def test_threads_that_never_end_do_not_keep_the_process():
    async def test():
        async with process() as (stub, worker, child):
            sleep = eval("lambda: __import__('time').sleep(1000)")
            stub.run(worker, sleep, key="never")
            await until(lambda: is_executing(stub, worker))
            await end(stub, worker, child)

    run_async(test())


def test_a_task_that_starts_children_and_changes_the_folder_is_survived():
    async def test():
        async with process() as (stub, worker, child):
            text = "lambda: (__import__('os').chdir('/'), __import__('os').system('true'))[1]"
            stub.run(worker, eval(text), key="x")
            assert loads((await stub.wait_for(worker, TaskFinished, "x")).result) == 0
            await end(stub, worker, child)

    run_async(test())
