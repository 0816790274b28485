"""How threads and coroutines wait for keys: one object per wait, none per future."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from distributed.client.table import KeyState

__all__ = ["Countdown", "LoopWaker", "ThreadWaker"]


class ThreadWaker:
    """Wakes the thread that called :meth:`wait`.  A bare lock: the cheapest thing there is to wait
    on.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> None:
        """Let the waiter go on.  From any thread, at most once."""
        self._lock.release()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until woken; return False if ``timeout_s`` seconds passed first."""
        if timeout_s is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(timeout_s, 0.0), threading.TIMEOUT_MAX))


class LoopWaker:
    """Wakes the coroutine that called :meth:`wait`, on the loop that it runs on."""

    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        """Let the waiter go on.  From any thread."""
        with contextlib.suppress(RuntimeError):  # the waiter's loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until woken; return False if ``timeout_s`` seconds passed first."""
        if timeout_s is None:
            await self._future
            return True
        done, _ = await asyncio.wait([self._future], timeout=max(timeout_s, 0.0))
        return bool(done)


class Countdown:
    """Calls ``wake`` once, when ``count`` of the keys that it was added to have ended.

    With ``until_error`` also as soon as one has not ended well.
    """

    __slots__ = ("_count", "_until_error", "_wake")

    def __init__(self, count: int, wake: Callable[[], Any], until_error: bool = False) -> None:
        self._count = count
        self._wake: Callable[[], Any] | None = wake
        self._until_error = until_error

    def notify(self, state: KeyState) -> None:
        """One of the keys has ended."""
        self._count -= 1
        wake = self._wake
        over = self._count <= 0 or (self._until_error and state.status != "finished")
        if over and wake is not None:
            self._wake = None
            wake()

    def watch(self, states: Sequence[KeyState]) -> None:
        """Add this to all ``states`` that are pending; the others are counted at once."""
        alone = (self,)  # what most have in common
        for state in states:
            if self._wake is None:
                return
            if state.status == "pending":
                waiters = state.waiters
                state.waiters = (*waiters, self) if waiters else alone
            else:
                self.notify(state)

    def unwatch(self, states: Sequence[KeyState]) -> None:
        """Remove this from all ``states``, so that an abandoned wait leaves nothing behind."""
        self._wake = None
        for state in states:
            if state.waiters:
                state.waiters = tuple(waiter for waiter in state.waiters if waiter is not self)
