"""The thread that done-callbacks run in, so that they may block without holding up the client."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["CallbackThread"]

logger = logging.getLogger(__name__)


class CallbackThread:
    """Runs calls one after the other in a daemon thread, which starts with the first of them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: queue.SimpleQueue[tuple[Callable[[Any], Any], Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._started = False
        self._stopped = False

    def call(self, function: Callable[[Any], Any], argument: Any) -> None:
        """Run ``function(argument)`` soon; what it raises is logged.  From any thread."""
        self._queue.put((function, argument))
        if not self._started:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._started or self._stopped:
                return
            self._started = True
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            function, argument = item
            try:
                function(argument)
            except Exception:  # a user's callback
                logger.exception("a done-callback of %s failed", argument)
            del item, function, argument  # hold no future while waiting for the next one

    def stop(self, timeout_s: float = 1.0) -> None:
        """Run what was asked for so far, then end the thread; waits up to ``timeout_s`` seconds."""
        self._stopped = True
        with self._lock:
            thread = self._thread
        self._queue.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
