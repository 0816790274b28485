from __future__ import annotations

import asyncio

import pytest

from tests.aio import run_async, until, until_sync


def test_run_async_returns_the_result():
    async def answer():
        return 42

    assert run_async(answer()) == 42


def test_run_async_passes_the_error_on():
    async def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_async(fail())


def test_run_async_says_where_it_hung():
    async def hang_here():
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match=r"not done after 0\.05 s[\s\S]*hang_here"):
        run_async(hang_here(), timeout_s=0.05)


def test_run_async_fails_upon_a_task_left_behind(monkeypatch):
    monkeypatch.setattr("tests.aio.GRACE_S", 0.02)

    async def leave():
        leave.task = asyncio.ensure_future(asyncio.Event().wait())

    with pytest.raises(AssertionError, match="1 tasks were left running"):
        run_async(leave())


def test_until_returns_the_first_true_value():
    values = iter([0, None, "done"])

    async def main():
        return await until(lambda: next(values))

    assert run_async(main()) == "done"


def test_until_awaits_a_coroutine_predicate():
    async def ready():
        return True

    async def main():
        return await until(ready)

    assert run_async(main()) is True


def test_until_names_what_never_came():
    async def main():
        await until(lambda: 0, timeout_s=0.01, what="the worker")

    with pytest.raises(AssertionError, match=r"in vain for the worker; the last value was 0"):
        run_async(main())


def test_until_sync_waits_and_names():
    values = iter([0, 7])
    assert until_sync(lambda: next(values)) == 7
    with pytest.raises(AssertionError, match="in vain for a file"):
        until_sync(lambda: False, timeout_s=0.01, what="a file")
