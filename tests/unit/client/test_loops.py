import asyncio
import threading

from tornado.ioloop import IOLoop

from distributed.client.loops import LoopThread
from tests.aio import until_sync


def run(loop, coro):
    return asyncio.run_coroutine_threadsafe(coro, loop).result(5.0)


async def where():
    return threading.current_thread().name


def test_the_loop_runs_in_its_own_daemon_thread_until_stopped():
    thread = LoopThread("mine")
    assert run(thread.loop, where()) == "mine"
    thread.stop()
    assert thread.loop.is_closed()
    thread.stop()


def test_stopping_ends_what_still_runs_there():
    thread, ended = LoopThread("mine"), []

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    asyncio.run_coroutine_threadsafe(forever(), thread.loop)
    run(thread.loop, where())
    thread.stop()
    assert ended == [1]


def test_stop_after_runs_the_last_words_and_does_not_wait():
    thread, said = LoopThread("mine"), threading.Event()

    async def last():
        said.set()

    thread.stop_after(last)
    assert said.wait(5.0)
    until_sync(thread.loop.is_closed)
    thread.stop_after(last)  # nobody is there: nothing happens


def test_a_given_loop_that_runs_is_used_and_left_running():
    owner = LoopThread("theirs")

    async def current():
        return IOLoop.current()

    given = run(owner.loop, current())
    guest = LoopThread("mine", given)
    assert run(guest.loop, where()) == "theirs"
    guest.stop()
    assert run(owner.loop, where()) == "theirs"
    owner.stop()


def test_a_given_loop_that_does_not_run_is_run():
    given = IOLoop(make_current=False)
    thread = LoopThread("mine", given)
    assert run(thread.loop, where()) == "mine"
    thread.stop()
