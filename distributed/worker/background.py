"""User code off the event loop and outside of the task threads: pickling, ``run``,
``upload_file``.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["in_thread"]

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Call ``function(*args)`` in a thread of its own and return its result or raise what it
    raised.

    Unlike a pool's, the thread does not keep the process from ending if the user's code never
    returns.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():  # the caller gave up
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        result, problem = None, None
        try:
            result = function(*args)
        except Exception as error:  # noqa: BLE001 - user code
            problem = error
        except BaseException as error:  # noqa: BLE001 - user code
            # A future must not carry SystemExit or KeyboardInterrupt: they would end the loop.
            problem = RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=work, name=f"background-{getattr(function, '__name__', 'call')}", daemon=True).start()
    return await future
