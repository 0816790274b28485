"""Running coroutines and waiting for conditions in tests, always with a deadline."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from distributed.eventloop import run

T = TypeVar("T")

FIRST_PAUSE_S = 0.001
LONGEST_PAUSE_S = 0.05
PATIENCE = float(os.environ.get("DLAUNCH_TEST_PATIENCE", "1"))
"""Deadlines are this many times longer: on a machine with other work to do, slow is not wrong."""
GRACE_S = 1.0 * PATIENCE
"""Closed connections need a few turns of the loop to end their readers."""


def run_async(coro: Coroutine[Any, Any, T], timeout_s: float = 20.0) -> T:
    """Run ``coro`` on a fresh loop; fail after ``timeout_s`` or if it leaves tasks behind.

    A left task is one that nobody owns: the loop would cancel it in silence.
    """
    return run(_supervise(coro, timeout_s))


async def _supervise(coro: Coroutine[Any, Any, T], timeout_s: float) -> T:
    task = asyncio.ensure_future(coro)
    done, _ = await asyncio.wait([task], timeout=timeout_s * PATIENCE)
    if not done:
        story = "".join(f"\n  {frame}" for frame in task.get_stack(limit=8))
        task.cancel()
        await asyncio.wait([task], timeout=1.0)
        raise AssertionError(f"{coro!r} was not done after {timeout_s:g} s, it waited in{story}")
    result = task.result()
    await _no_tasks_left()
    return result


async def _no_tasks_left() -> None:
    def others() -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]

    deadline = time.monotonic() + GRACE_S
    while others() and time.monotonic() < deadline:
        await asyncio.sleep(FIRST_PAUSE_S)
    left = others()
    if left:
        names = "".join(f"\n  {task!r}" for task in left)
        raise AssertionError(f"{len(left)} tasks were left running:{names}")


async def until(predicate: Callable[[], T | Awaitable[T]], timeout_s: float = 10.0, what: str = "") -> T:
    """Await until ``predicate()`` (plain or a coroutine function) is true; return its value.

    Raises AssertionError after ``timeout_s``, saying ``what`` was waited for and the last value.
    """
    deadline = time.monotonic() + timeout_s * PATIENCE
    pause_s = FIRST_PAUSE_S
    while True:
        value = predicate()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value  # type: ignore[return-value]
        if time.monotonic() > deadline:
            raise AssertionError(_missed(predicate, timeout_s, what, value))
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)


def until_sync(predicate: Callable[[], T], timeout_s: float = 10.0, what: str = "") -> T:
    """Block until ``predicate()`` is true and return its value: the twin of :func:`until`."""
    deadline = time.monotonic() + timeout_s * PATIENCE
    pause_s = FIRST_PAUSE_S
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_missed(predicate, timeout_s, what, value))
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)


def _missed(predicate: Callable[[], Any], timeout_s: float, what: str, value: object) -> str:
    wanted = what or getattr(predicate, "__qualname__", repr(predicate))
    return f"waited {timeout_s:g} s in vain for {wanted}; the last value was {value!r}"
