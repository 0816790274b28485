import asyncio
import threading
import time

import pytest

from distributed.client.table import KeyState
from distributed.client.waiters import Countdown, LoopWaker, ThreadWaker
from tests.aio import run_async


def states(count):
    return [KeyState(f"k{i}") for i in range(count)]


def test_a_thread_is_woken_by_another():
    waker = ThreadWaker()
    threading.Timer(0.01, waker.wake).start()
    assert waker.wait(5.0)


def test_a_thread_gives_up_in_time():
    begin = time.monotonic()
    assert not ThreadWaker().wait(0.02)
    assert time.monotonic() - begin < 2.0
    assert not ThreadWaker().wait(-1.0)


def test_a_wake_before_the_wait_counts():
    waker = ThreadWaker()
    waker.wake()
    assert waker.wait(0.0)


def test_a_coroutine_is_woken_from_another_thread():
    async def main():
        waker = LoopWaker()
        threading.Timer(0.01, waker.wake).start()
        assert await waker.wait(5.0)
        waker.wake()  # once more does no harm
        assert await waker.wait()
        assert not await LoopWaker().wait(0.01)

    run_async(main())


def test_waking_on_a_closed_loop_is_nothing():
    async def main():
        return LoopWaker()

    asyncio.run(main()).wake()


@pytest.mark.parametrize(("count", "enough"), [(3, 3), (1, 1)])
def test_the_countdown_wakes_once_when_enough_have_ended(count, enough):
    keys, woken = states(3), []
    countdown = Countdown(count, lambda: woken.append(1))
    countdown.watch(keys)
    for number, state in enumerate(keys, 1):
        state.end("finished", b"")
        assert len(woken) == (number >= enough)


def test_ended_keys_count_at_once():
    keys, woken = states(2), []
    keys[0].end("finished", b"")
    Countdown(1, lambda: woken.append(1)).watch(keys)
    assert woken == [1]
    assert keys[1].waiters == ()  # no need to watch the rest


def test_a_failure_wakes_early_if_asked_to():
    keys, woken = states(3), []
    Countdown(3, lambda: woken.append(1), until_error=True).watch(keys)
    keys[0].end("finished", b"")
    assert woken == []
    keys[1].end("cancelled", None)
    assert woken == [1]


def test_an_abandoned_wait_leaves_nothing_behind():
    keys, woken = states(2), []
    stays = Countdown(2, lambda: woken.append("stays"))
    goes = Countdown(2, lambda: woken.append("goes"))
    for countdown in (stays, goes):
        countdown.watch(keys)
    goes.unwatch(keys)
    for state in keys:
        state.end("finished", b"")
    assert woken == ["stays"]
