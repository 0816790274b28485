"""The sockets of a loop, watched together."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import weakref

import pytest

from distributed.comm import connect
from distributed.messages import Goodbye, Reply
from distributed.payloads import Buffer
from distributed.poller import Poller
from distributed.pool import call
from distributed.wire.frames import encode_batch
from tests.aio import run_async, until
from tests.daemons.linkbed import SECRET, pair, running


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_sockets_that_are_ready_together_share_one_end_of_a_turn():
    async def main():
        async with pair() as (one, two), pair() as (three, four):
            assert one.poller is four.poller is Poller.current()
            story = []

            def take(name):
                story.append(name)
                one.poller.at_end(lambda: story.append("end"))

            following = [
                asyncio.ensure_future(end.follow(lambda batch, name=name: take(name)))
                for name, end in (("two", two), ("four", four))
            ]
            await asyncio.sleep(0)
            one._sock.send(b"".join(bytes(p) for p in encode_batch([Goodbye("now")])))
            three._sock.send(b"".join(bytes(p) for p in encode_batch([Goodbye("now")])))
            await until(lambda: len(story) == 4)
            assert sorted(story[:2]) == ["four", "two"]
            assert story[2:] == ["end", "end"]
            for task in following:
                task.cancel()
            await asyncio.wait(following)

    run_async(main())


def test_what_goes_wrong_at_the_end_of_a_turn_does_not_take_the_rest_with_it():
    async def main():
        problems, done = [], []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))
        poller = Poller.current()
        poller.at_end(lambda: 1 / 0)
        poller.at_end(lambda: done.append(1))
        poller.at_end(lambda: poller.at_end(lambda: done.append(2)))
        await until(lambda: done == [1, 2])
        assert [type(problem) for problem in problems] == [ZeroDivisionError]

    run_async(main())


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_with_the_last_connection_the_descriptor_goes_and_the_loop_is_free():
    async def main():
        before = descriptors()
        async with pair():
            assert descriptors() == before + (3 if hasattr(select, "epoll") else 2)
        assert descriptors() == before
        async with pair() as (one, two):  # and it comes again
            one.send(Goodbye("again"))
            assert await two.read() == [Goodbye("again")]
        return weakref.ref(asyncio.get_running_loop())

    loop = run_async(main())
    gc.collect()
    assert loop() is None


@pytest.mark.parametrize("way", ["epoll", "loop"])
def test_connections_work_with_and_without_an_epoll_of_ours(way, monkeypatch):
    if way == "loop":
        monkeypatch.delattr(select, "epoll")

    async def main():
        async with running() as daemon:
            connection = await connect(daemon.address, secret=SECRET)
            assert await call(connection, "echo", {"value": 7}) == 7
            large = Buffer(bytes(20_000_000))  # so that both wait to write
            assert await call(connection, "measure", {"data": large}) == 20_000_000
            await connection.close()
        async with pair() as (one, two):
            got = []
            following = asyncio.ensure_future(two.follow(got.extend))
            for number in range(20):
                one.send(Reply(number, Buffer(bytes(500_000))))
            await until(lambda: len(got) == 20)
            following.cancel()
            await asyncio.wait([following])

    run_async(main())
