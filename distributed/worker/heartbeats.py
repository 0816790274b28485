"""When a worker measures its memory, and when it says that it lives."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from typing import Final

from distributed.clock import on_the_second

__all__ = ["QUIET_S", "Heartbeats"]

_MEASURE_S: Final = 10.0
"""Between measurements of memory: a worker pauses as soon in a large cluster as in a small one."""
QUIET_S: Final = 100.0
"""Between the heartbeats of a worker that has nothing to do: a third of ``SILENCE_S`` in ``scheduler/liveness.py``."""
_SOON: Final = 0.3
"""Part of its period within which a worker that was stirred looks whether it still has something to do."""


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
        self._last_s = -math.inf
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def every(self, period_s: float) -> None:
        """Have a heartbeat sent every ``period_s`` seconds from now on, and memory measured as often at the least."""
        self.period_s = period_s
        self.measure_s = min(_MEASURE_S, period_s)
        self._last_s = -math.inf  # it may be another scheduler, which has heard nothing
        # Of many that came at once, not all should speak at once.
        self._begin(asyncio.get_running_loop().time() + random.uniform(0.5, 1.0) * period_s)

    def stir(self) -> None:
        """There is something to do, or to watch."""
        if self.asleep:
            self._begin(self._last_s + self.period_s)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, due_s: float) -> None:
        self.asleep = False
        self._due_s = due_s
        # Soon, because most that stirs is over soon.
        self._again(random.random() * min(_SOON * self.period_s, self.measure_s))

    def _again(self, in_s: float) -> None:
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(on_the_second(in_s, time.time()), self._now)

    def _now(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self.asleep = self._is_quiet()
        # A timer may be a little early, and a full second up to half a second.
        nearly_s = now_s + min(self.measure_s / 2, 1.0)
        due = nearly_s > (self._last_s + self.period_s if self.asleep else self._due_s)
        if due:
            self._last_s, self._due_s = now_s, now_s + self.period_s
        self._again(max(self.period_s, QUIET_S) if self.asleep else self.measure_s)
        self._measure(due)
