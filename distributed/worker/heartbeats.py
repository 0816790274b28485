"""When a worker measures its memory, and when it says that it lives."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from distributed.clock import on_the_second

__all__ = ["Heartbeats"]

_MEASURE_S: Final = 10.0
"""Between measurements of memory: a worker pauses as soon in a large cluster as in a small one."""
_QUIET_S: Final = 100.0
"""Between the heartbeats of a worker that has nothing to do; three of them may be late (``scheduler/liveness.py``)."""


class Heartbeats:
    """Calls ``measure`` every ten seconds, and tells it whether a heartbeat is due: so often as the scheduler wants.

    ``is_quiet`` says that nothing can have changed: then it is ``asleep``, but for a heartbeat in 100 seconds, until
    somebody calls ``stir``.
    """

    def __init__(self, measure: Callable[[bool], None], is_quiet: Callable[[], bool]) -> None:
        self.period_s = self.measure_s = _MEASURE_S
        self.asleep = False
        self._measure = measure
        self._is_quiet = is_quiet
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def every(self, period_s: float) -> None:
        """Have a heartbeat sent every ``period_s`` seconds from now on, and memory measured as often at the least."""
        self.asleep = False
        self.period_s = period_s
        self.measure_s = min(_MEASURE_S, period_s)
        # Of many that came at once, not all should speak at once.
        self._due_s = asyncio.get_running_loop().time() + random.uniform(0.5, 1.0) * period_s
        self._again(random.random() * self.measure_s)

    def stir(self) -> None:
        """There is something to do, or to watch."""
        if self.asleep:
            self.every(self.period_s)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _again(self, in_s: float) -> None:
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(on_the_second(in_s, time.time()), self._now)

    def _now(self) -> None:
        now_s = asyncio.get_running_loop().time()
        due = now_s + self.measure_s / 2 > self._due_s
        self.asleep = due and self._is_quiet()
        if due:
            self._due_s = now_s + (max(self.period_s, _QUIET_S) if self.asleep else self.period_s)
        self._again(self._due_s - now_s if self.asleep else self.measure_s)
        self._measure(due)
