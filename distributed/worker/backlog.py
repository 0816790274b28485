"""Noticing that tasks wait behind others that do not end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

__all__ = ["Backlog"]

_FIRST_S: Final = 1.0
_LONGEST_S: Final = 64.0


class Backlog:
    """Calls ``tell`` when tasks have been ``waiting`` for a second and none has ``ended``: others may have time.

    ``waiting`` and ``ended`` return how many tasks wait for a thread, and how many have ended so far.  While nothing
    changes it tells again after twice the time.  Without tasks that wait it costs nothing.
    """

    def __init__(self, waiting: Callable[[], int], ended: Callable[[], int], tell: Callable[[], None]) -> None:
        self._waiting = waiting
        self._ended = ended
        self._tell = tell
        self._before = (0, 0)
        self._pause_s = _FIRST_S
        self._timer: asyncio.TimerHandle | None = None

    def stir(self) -> None:
        """Tasks may wait from now on."""
        if self._timer is None and self._waiting():
            self._begin()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._before = (self._ended(), self._waiting())
        self._look_after(_FIRST_S)

    def _look_after(self, pause_s: float) -> None:
        self._pause_s = pause_s
        # Of thousands that began at once not all should speak at once.
        self._timer = asyncio.get_running_loop().call_later(random.uniform(1.0, 1.5) * pause_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._waiting():
            return
        ended, waiting = self._before
        if self._ended() != ended:
            self._begin()
            return
        if self._waiting() < waiting:  # somebody took some: he may take more soon
            self._begin()
        else:
            self._look_after(min(2 * self._pause_s, _LONGEST_S))
        self._tell()
