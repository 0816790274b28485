"""The sockets of a loop, watched together."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import socket
import threading
import time
import weakref
from selectors import EVENT_READ, EVENT_WRITE
from types import SimpleNamespace

import pytest

from distributed.comm import connect
from distributed.messages import Goodbye, Reply
from distributed.payloads import Buffer
from distributed.poller import READ, Poller, Selector
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
def test_connections_leave_no_descriptor_and_the_loop_is_free():
    async def main():
        before = descriptors()
        async with pair():
            assert descriptors() == before + 2
        assert descriptors() == before
        async with pair() as (one, two):  # and it comes again
            one.send(Goodbye("again"))
            assert await two.read() == [Goodbye("again")]
        return weakref.ref(asyncio.get_running_loop())

    loop = run_async(main())
    gc.collect()
    assert loop() is None


def plain(coro):
    """As a program of the user's runs its own loop."""
    return asyncio.run(asyncio.wait_for(coro, 20.0))


@pytest.mark.parametrize("way", ["ours", "theirs", "no epoll"])
def test_connections_work_on_every_loop(way, monkeypatch):
    if way == "no epoll":
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

    (plain if way == "theirs" else run_async)(main())


@pytest.mark.parametrize("runner", [run_async, plain])
def test_a_socket_that_another_one_closed_has_no_turn(runner):
    async def main():
        async with pair() as (one, two), pair() as (three, four):
            ends = {two: four, four: two}
            heard = []

            def take(end):
                heard.append(end)
                ends[end].abort()

            following = [asyncio.ensure_future(end.follow(lambda batch, end=end: take(end))) for end in ends]
            await asyncio.sleep(0)
            for end in (one, three):
                end._sock.send(b"".join(bytes(p) for p in encode_batch([Goodbye("now")])))
            await asyncio.wait(following, return_when=asyncio.FIRST_COMPLETED)
            assert len(heard) == 1
            for task in following:
                task.cancel()
            await asyncio.wait(following)

    runner(main())


def test_what_goes_wrong_in_a_turn_is_told_and_the_loop_goes_on():
    async def main():
        problems = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))
        mine, other = socket.socketpair()
        with mine, other:
            peer = SimpleNamespace(ready=lambda events: other.recv(1) and 1 / 0)
            Poller.current().watch(other.fileno(), peer, READ, 0)
            mine.send(b"xx")
            await until(lambda: len(problems) == 2)
            assert {type(problem) for problem in problems} == {ZeroDivisionError}
            Poller.current().watch(other.fileno(), peer, 0, READ)

    run_async(main())


@pytest.mark.parametrize("runner", [run_async, plain])
def test_what_a_thread_has_the_loop_do_has_a_turn(runner):
    async def main():
        poller, story = Poller.current(), []

        def do():
            story.append("called")
            poller.at_end(lambda: story.append("end"))

        for _ in range(3):
            await asyncio.to_thread(poller.call, do)
        await until(lambda: story.count("end") == 3)
        assert story[:2] == ["called", "end"]
        return poller, do

    poller, do = runner(main())
    with pytest.raises(RuntimeError, match="closed"):
        poller.call(do)


def test_what_goes_wrong_in_a_call_does_not_take_the_rest_with_it():
    async def main():
        problems, done = [], []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))
        poller = Poller.current()
        for do in (lambda: 1 / 0, lambda: done.append(1), lambda: 1 / 0, lambda: done.append(2)):
            poller.call(do)
        await until(lambda: done == [1, 2])
        assert [type(problem) for problem in problems] == [ZeroDivisionError] * 2

    run_async(main())


def test_asyncio_watches_what_it_likes_on_a_loop_of_ours():
    async def main():
        loop = asyncio.get_running_loop()
        mine, other = socket.socketpair()
        for end in (mine, other):
            end.setblocking(False)
        story = []
        with mine, other:
            loop.add_reader(other, lambda: story.append(("read", other.recv(10))))
            loop.add_writer(other, lambda: (story.append(("write", None)), loop.remove_writer(other)))
            await until(lambda: story)
            mine.send(b"x")
            await until(lambda: len(story) == 2)
            assert story == [("write", None), ("read", b"x")]
            mine.shutdown(socket.SHUT_WR)
            await until(lambda: story[-1] == ("read", b""))
            assert loop.remove_reader(other.fileno())
            assert not loop.remove_reader(other)
        # It notices the end of a process and of a pipe, and sleeps in between.
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert await process.communicate(b"there and back") == (b"there and back", None)
        start = time.process_time()
        await asyncio.sleep(0.2)
        assert time.process_time() - start < 0.1

    run_async(main())


def test_a_destructor_may_call_in_the_midst_of_a_call(monkeypatch):
    selector, write = Selector(), os.eventfd_write
    done = []

    def interrupted(bell, number):
        if not done:  # the garbage collector may run anywhere, and meet a future
            done.append("first")
            selector.call(lambda: done.append("second"))
        write(bell, number)

    monkeypatch.setattr(os, "eventfd_write", interrupted)
    calling = threading.Thread(target=selector.call, args=(lambda: done.append("third"),), daemon=True)
    calling.start()
    calling.join(10)
    assert not calling.is_alive()
    selector.select(10)
    assert sorted(done) == ["first", "second", "third"]
    selector.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
@pytest.mark.parametrize("closed", [False, True])
def test_a_selector_leaves_no_descriptor(closed):
    before = descriptors()
    selector = Selector()
    assert descriptors() == before + 2
    if closed:
        selector.close()
        selector.close()
        with pytest.raises(RuntimeError, match="closed"):
            selector.call(print)
    del selector
    assert descriptors() == before


def test_a_closed_file_can_still_be_taken_off():
    selector = Selector()
    mine, other = socket.socketpair()
    key = selector.register(mine, EVENT_READ, "data")
    assert selector.get_key(mine) == selector.get_key(mine.fileno()) == key
    with pytest.raises(KeyError, match="registered already"):
        selector.register(mine, EVENT_READ)
    assert selector.modify(mine, EVENT_READ | EVENT_WRITE, "more").data == "more"
    assert selector.select(1.0) == [(selector.get_key(mine), EVENT_WRITE)]
    mine.close()
    assert selector.unregister(mine).data == "more"
    with pytest.raises(KeyError):
        selector.get_key(other)
    assert selector.select(0) == []
    other.close()
    selector.close()
    selector.watch(0, None, READ, 0)  # nobody is left to be told
