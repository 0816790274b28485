"""Event loops whose selector is our poller, and running them: plain asyncio but for that."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Coroutine
from typing import Any, TypeVar

from distributed.poller import Poller, Selector

__all__ = ["finish", "new_event_loop", "run"]

T = TypeVar("T")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a loop for daemons and clients, whose sockets are served without asyncio's doing.

    A plain one where there is neither epoll nor eventfd.
    """
    if not (hasattr(select, "epoll") and hasattr(os, "eventfd")):
        return asyncio.new_event_loop()
    selector = Selector()
    loop = asyncio.SelectorEventLoop(selector)
    Poller(loop, selector)
    return loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on such a loop, in this thread, as ``asyncio.run`` does."""
    loop = new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        finish(loop)


def finish(loop: asyncio.AbstractEventLoop, timeout_s: float | None = None) -> None:
    """Cancel what still runs on a loop that has stopped, wait for its end for so long, and close the loop."""
    try:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=timeout_s))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
