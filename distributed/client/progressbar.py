"""A text bar of how many futures have ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Final, TextIO

from distributed.client.future import Future
from distributed.client.structures import find_futures
from distributed.client.table import KeyState
from distributed.client.waiters import LoopWaker, ThreadWaker

__all__ = ["draw_bar", "progress"]

_INTERVAL_S: Final = 0.1


def draw_bar(done: int, total: int, elapsed_s: float, width: int = 40) -> str:
    """Return one line like ``[########            ] | 40% Completed |  1.7s``."""
    share = done / total if total else 1.0
    minutes, seconds = divmod(elapsed_s, 60)
    clock = f"{minutes:.0f}min {seconds:4.1f}s" if minutes else f"{seconds:4.1f}s"
    return f"[{'#' * int(width * share):<{width}}] | {int(100 * share)}% Completed | {clock}"


class _Tally:
    """Counts futures that end, and wakes when all have."""

    def __init__(self, futures: list[Future], wake: Callable[[], Any]) -> None:
        self.total = len(futures)
        self.done = 0
        self._wake = wake
        for future in futures:
            self._add(future)

    def _add(self, future: Future) -> None:
        state = future._state
        with future.client.session.lock:
            if state.status == "pending":
                state.waiters = (*state.waiters, self)
                return
        self.notify(state)

    def notify(self, state: KeyState) -> None:  # noqa: ARG002 - a count is enough
        """One more has ended."""
        self.done += 1
        if self.done == self.total:
            self._wake()


class _Bar:
    """Redraws one line on a terminal; elsewhere writes it once, at the end."""

    def __init__(self, tally: _Tally, file: TextIO, width: int) -> None:
        self._tally = tally
        self._file = file
        self._width = width
        self._begin_s = time.monotonic()
        self._live = file.isatty()

    def _line(self) -> str:
        elapsed_s = time.monotonic() - self._begin_s
        return draw_bar(self._tally.done, self._tally.total, elapsed_s, self._width)

    def show(self) -> None:
        """Draw where things are, if it can be drawn over later."""
        if self._live:
            self._file.write(f"\r{self._line()}")
            self._file.flush()

    def finish(self) -> None:
        """Write the last line."""
        start = "\r" if self._live else ""
        self._file.write(f"{start}{self._line()}\n")
        self._file.flush()


def progress(*futures: Any, file: TextIO | None = None, width: int = 40, interval_s: float = _INTERVAL_S) -> Any:
    """Show on ``file`` (default: stderr) how many of the futures have ended, until all have.

    ``futures`` may be nested in lists and the like.  Where ``file`` is no terminal, one line is
    written at the end. Returns an awaitable if the futures are of an asynchronous client.
    """
    found = list(dict.fromkeys(find_futures(futures)))
    out = sys.stderr if file is None else file
    if found and found[0].client.asynchronous:
        return _progress(found, out, width, interval_s)
    waker = ThreadWaker()
    bar = _Bar(_Tally(found, waker.wake), out, width)
    try:
        while found and not waker.wait(interval_s):
            bar.show()
    finally:
        bar.finish()
    return None


async def _progress(found: list[Future], file: TextIO, width: int, interval_s: float) -> None:
    waker = LoopWaker()
    bar = _Bar(_Tally(found, waker.wake), file, width)
    try:
        while not await waker.wait(interval_s):
            bar.show()
    finally:
        bar.finish()
