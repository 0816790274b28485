"""User code in threads of its own."""

from __future__ import annotations

import sys
import threading

import pytest

from distributed.worker.background import in_thread
from tests.aio import run_async


def test_results_and_errors_come_back():
    assert run_async(in_thread(pow, 2, 5)) == 32
    with pytest.raises(ValueError, match="invalid literal"):
        run_async(in_thread(int, "x"))


def test_a_function_that_exits_does_not_end_the_loop():
    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        run_async(in_thread(sys.exit, 3))


def test_it_runs_in_a_thread_that_does_not_hold_up_the_end_of_the_process():
    thread = run_async(in_thread(threading.current_thread))
    assert thread is not threading.main_thread()
    assert thread.daemon


def test_nobody_waits_any_more():
    gate, left = threading.Event(), threading.Event()

    async def give_up():
        import asyncio

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(in_thread(lambda: (gate.wait(10), left.set())), 0.01)

    run_async(give_up())
    gate.set()
    assert left.wait(10)
