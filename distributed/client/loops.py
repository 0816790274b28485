"""The event loop that a client runs on: its own in one background thread, or one that the user's
program runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

from tornado.ioloop import IOLoop

from distributed.eventloop import finish, new_event_loop

__all__ = ["LoopThread"]

_PATIENCE_S: Final = 2.0


class LoopThread:
    """An asyncio loop in a daemon thread.

    ``given``: a loop of the user's; if it runs already, in a thread of the user's, that is used and
    never stopped.
    """

    def __init__(self, name: str, given: IOLoop | None = None) -> None:
        theirs: asyncio.AbstractEventLoop | None = getattr(given, "asyncio_loop", None)
        self.loop = new_event_loop() if theirs is None else theirs
        self._thread: threading.Thread | None = None
        if not self.loop.is_running():
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            finish(self.loop, _PATIENCE_S)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the loop and its thread; waits up to ``timeout_s`` seconds.  Idempotent, from any
        thread.
        """
        if self._thread is None:
            return
        with contextlib.suppress(RuntimeError):  # it is closed
            self.loop.call_soon_threadsafe(self.loop.stop)
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def stop_after(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine, then end; does not wait, so that destructors may call it."""

        def begin() -> None:
            task = self.loop.create_task(last())
            if self._thread is not None:
                task.add_done_callback(lambda _: self.loop.stop())

        with contextlib.suppress(RuntimeError):  # it is closed
            self.loop.call_soon_threadsafe(begin)
