"""How a client connects, is alone in the world, and leaves."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import threading
from contextlib import asynccontextmanager

import pytest

from distributed.client import Client, as_completed, default_client, wait
from distributed.daemon import Daemon
from distributed.errors import (
    AuthenticationError,
    CommError,
    ConnectionClosedError,
    ConnectionLostError,
    RequestTimeoutError,
)
from tests.aio import run_async, until, until_sync
from tests.daemons.clientbed import SchedulerBed, fail, inc
from tests.daemons.fake_scheduler import SECRET, FakeScheduler


@pytest.fixture
def bed():
    bed = SchedulerBed()
    yield bed
    bed.close()


@pytest.fixture
def scheduler(bed):
    return bed.start()


@pytest.fixture
def client(scheduler):
    with Client(scheduler.address, secret=SECRET) as client:
        yield client


# -- connecting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:1", "no.such.host.invalid:8786"])
def test_no_connection_is_an_error_with_the_address(address):
    with pytest.raises(CommError, match="connect") as caught:
        Client(address, timeout_s=2.0)
    assert address in str(caught.value)
    assert isinstance(caught.value, OSError)


def test_another_secret_is_refused(scheduler, expect_log):
    expect_log("refused .* it holds another cluster secret", required=False)
    with pytest.raises(AuthenticationError, match="connect"):
        Client(scheduler.address, secret=b"t" * 32)


def test_something_else_that_listens(bed):
    async def serve():
        def answer(reader, writer):
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(100))
            writer.close()

        return await asyncio.start_server(answer, "127.0.0.1", 0)

    server = bed.run(serve())
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(CommError, match=f"connect to {address}"):
        Client(address, timeout_s=5.0)
    bed.on(server.close)


def test_a_daemon_that_is_no_scheduler_is_named(bed):
    class Other(Daemon):
        kind = "Worker"

    other = bed.start(Other, host="127.0.0.1", secret=SECRET)
    with pytest.raises(ValueError, match=f"connect to {other.address}: it is a Worker, not a scheduler"):
        Client(other.address, secret=SECRET)


@pytest.mark.expect_log("lost the scheduler at")
def test_when_the_scheduler_dies_all_who_wait_are_told(bed):
    scheduler = bed.start(held=True)
    client = Client(scheduler.address, secret=SECRET)
    futures = client.map(inc, range(10))
    until_sync(lambda: len(scheduler.todo) == 10)
    outcomes = []

    def wait_for(action):
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever it is
            outcomes.append(error)

    session = client.session
    waits = [lambda: client.gather(futures), futures[0].result, lambda: session.run(session.request("slow"))]
    threads = [threading.Thread(target=wait_for, args=(action,)) for action in waits]
    for one in threads:
        one.start()
    bed.run(scheduler.close())
    for one in threads:
        one.join(10.0)
    assert len(outcomes) == 3
    assert all(isinstance(error, ConnectionLostError) for error in outcomes), outcomes
    assert all(scheduler.address in str(error) for error in outcomes)
    assert futures[5].status == "lost"
    with pytest.raises(ConnectionLostError):
        client.submit(inc, 1)
    assert "not connected" in repr(client)
    client.close()


def test_close_twice_and_what_follows(scheduler):
    client = Client(scheduler.address, secret=SECRET)
    future = client.submit(inc, 1)
    future.result(5)
    client.close()
    client.close()
    assert client.status == "closed"
    assert future.result() == 2  # it came along
    for attempt in (lambda: client.submit(inc, 1), client.ncores, lambda: Client.get_executor(client).submit(inc, 2)):
        with pytest.raises(ConnectionClosedError, match="closed"):
            attempt()


def test_pending_futures_end_as_cancelled_when_the_client_closes(bed):
    client = Client(bed.start(held=True).address, secret=SECRET)
    future = client.submit(inc, 1)
    client.close()
    assert future.cancelled()
    with pytest.raises(ConnectionClosedError, match="closed"):
        future.result()


def test_a_collected_client_leaves_the_scheduler(scheduler):
    client = Client(scheduler.address, secret=SECRET)
    until_sync(lambda: len(scheduler.connections) == 1)
    del client
    gc.collect()
    until_sync(lambda: not scheduler.connections)


def test_the_default_client_is_the_last_one_open(scheduler):
    with Client(scheduler.address, secret=SECRET) as first:
        with Client(scheduler.address, secret=SECRET) as second:
            assert default_client() is second
        assert default_client() is first
    with pytest.raises(ValueError, match="there is no client"):
        default_client()


def _in_child(client, future, pipe):
    answers = [future.result(), future.key]
    for attempt in (lambda: client.submit(inc, 5), client.ncores, default_client):
        try:
            attempt()
        except Exception as error:  # noqa: BLE001 - whatever it is
            answers.append(f"{type(error).__name__}: {error}")
    pipe.send(answers)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_a_forked_child_is_told_and_the_parent_goes_on(client):
    future = client.submit(inc, 1)
    future.result(5)
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    child = fork.Process(target=_in_child, args=(client, future, there))
    child.start()
    assert here.poll(10.0)
    value, key, submitted, asked, default = here.recv()
    child.join(10.0)
    assert (value, key, child.exitcode) == (2, future.key, 0)
    assert submitted.startswith("RuntimeError")
    assert "make a new Client here" in submitted
    assert asked.startswith("RuntimeError")
    assert default.startswith("ValueError")
    assert client.submit(inc, 10).result(5) == 11


# -- asynchronous --------------------------------------------------------------------------------


@asynccontextmanager
async def fake(**options):
    scheduler = FakeScheduler(**options)
    await scheduler.start(0)
    try:
        yield scheduler
    finally:
        await scheduler.close()


def test_in_a_coroutine_methods_return_awaitables():
    async def main():
        async with fake() as scheduler, Client(scheduler.address, secret=SECRET) as client:
            assert client.asynchronous
            future = client.submit(inc, 1)
            assert await future == 2
            assert await future.result(5) == 2
            assert await future.exception() is None
            assert await client.gather(client.map(inc, range(3))) == [1, 2, 3]
            assert await client.gather(client.submit(fail, 1), errors="skip") is None
            assert await client.gather(await client.scatter([1, 2])) == [1, 2]
            assert len((await wait(client.map(inc, range(3)))).done) == 3
            assert [f.key async for f in as_completed([future])] == [future.key]
            assert await client.ncores() == {scheduler.address: 2}
            await client.cancel(future)
            assert "workers=1 threads=2" in repr(client)
            bad = client.submit(fail, 1)
            with pytest.raises(ValueError, match="bad"):
                await bad
            assert await bad.traceback() is not None
            with pytest.raises(RuntimeError, match="block"):
                list(as_completed([client.submit(inc, 50)]))

    run_async(main())


def test_an_asynchronous_client_ends_waits_in_time():
    async def main():
        async with fake(held=True) as scheduler, Client(scheduler.address, secret=SECRET) as client:
            future = client.submit(inc, 1)
            with pytest.raises(RequestTimeoutError):
                await future.result(0.01)
            with pytest.raises(RequestTimeoutError):
                await client.gather([future], timeout=0.01)
            await until(lambda: scheduler.todo)
            task = asyncio.ensure_future(client.gather([future]))
            await asyncio.sleep(0)
            scheduler.step()
            assert await task == [2]

    run_async(main())


def test_an_asynchronous_client_says_when_it_is_not_connected():
    async def main():
        async with fake() as scheduler:
            client = Client(scheduler.address, secret=SECRET, asynchronous=True)
            assert client.status == "connecting"
            with pytest.raises(RuntimeError, match="await client"):
                client.submit(inc, 1)
            with pytest.raises(TypeError, match="async with"):
                client.__enter__()
            assert (await client) is client
            assert await client.submit(inc, 1) == 2
            await client.close()
            await client.close()

    run_async(main())


def test_futures_of_a_blocking_client_can_be_awaited(client):
    async def main():
        assert await client.submit(inc, 1) == 2
        assert await asyncio.gather(*client.map(inc, range(5))) == [1, 2, 3, 4, 5]
        assert [f.done() async for f in as_completed(client.map(inc, range(3)))] == [True] * 3

    run_async(main())


@pytest.mark.expect_log("lost the scheduler at")
def test_an_asynchronous_client_is_told_of_a_lost_scheduler():
    async def main():
        async with fake(held=True) as scheduler, Client(scheduler.address, secret=SECRET) as client:
            future = client.submit(inc, 1)
            waiting = asyncio.ensure_future(client.gather([future]))
            await until(lambda: scheduler.todo)
            await scheduler.close()
            with pytest.raises(ConnectionLostError, match=scheduler.address):
                await waiting

    run_async(main())
