import threading

import pytest

from distributed.client.callbacks import CallbackThread


def test_calls_run_in_order_in_one_helper_thread():
    calls, seen = CallbackThread("helper"), []
    for number in range(5):
        calls.call(lambda n: seen.append((n, threading.current_thread().name)), number)
    calls.stop()
    assert seen == [(n, "helper") for n in range(5)]


@pytest.mark.expect_log("a done-callback of 7 failed")
def test_a_failing_callback_is_logged_and_the_next_one_runs():
    calls, seen = CallbackThread("helper"), []
    calls.call(lambda n: n / 0, 7)
    calls.call(seen.append, 8)
    calls.stop()
    assert seen == [8]


def test_no_thread_without_calls_and_none_after_the_end():
    calls = CallbackThread("helper-of-nothing")
    calls.stop()
    calls.call(print, 1)
    assert "helper-of-nothing" not in [thread.name for thread in threading.enumerate()]


def test_a_callback_may_stop_the_thread_it_runs_in():
    calls, done = CallbackThread("helper"), threading.Event()

    def end(_):
        calls.stop()
        done.set()

    calls.call(end, None)
    assert done.wait(5.0)
