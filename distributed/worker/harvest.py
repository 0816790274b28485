"""When the loop takes what the threads of tasks have ended."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import monotonic
from typing import Final

from distributed.worker.events import Outcome
from distributed.worker.executor import Executor

__all__ = ["Harvest"]

_SHORT_S: Final = 0.005
_TOGETHER_S: Final = 0.001


class Harvest:
    """Takes the outcomes of an executor: the first at once, and those that come at short intervals together.

    A loop that is woken for each of many short tasks has the interpreter's lock half of the time, and the scheduler a
    message for each: of tasks of 0.1 ms workers ran two thirds of the time.  ``look`` is to call :meth:`take`; it is
    called a moment later if more is to come, so that nothing waits for the end of a task that turns out to be long.
    """

    def __init__(self, executor: Executor, look: Callable[[], None]) -> None:
        self._executor = executor
        self._look = look
        self._taken_s = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    def take(self) -> list[Outcome]:
        """Return what there is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        outcomes = self._executor.take()
        if outcomes:
            now_s = monotonic()
            if now_s - self._taken_s < _SHORT_S and self._executor.queued:
                self._executor.defer()
                self._timer = asyncio.get_running_loop().call_later(_TOGETHER_S, self._look)
            self._taken_s = now_s
        return outcomes
