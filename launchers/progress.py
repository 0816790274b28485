"""How the launching looks on a terminal: one line that is rewritten; elsewhere a line per change."""

from __future__ import annotations

import contextlib
import sys
from typing import TextIO

from launchers.slots import Progress

__all__ = ["ProgressPrinter", "describe"]

_ERASE = "\r\x1b[2K"


def describe(progress: Progress) -> str:
    """Return one line, like ``8 jobs submitted, 3 pending (Resources: ...), 5 running, 4 of 8 workers registered``."""
    parts = []
    if progress.jobs:
        parts.append(f"{progress.jobs} job{'s' if progress.jobs > 1 else ''} submitted")
    if progress.pending:
        parts.append(f"{progress.pending} pending{f' ({progress.reason})' if progress.reason else ''}")
    if progress.running:
        parts.append(f"{progress.running} running")
    if progress.wanted or not progress.adopted:
        parts.append(f"{progress.registered} of {progress.wanted} workers registered")
        parts += [f"{progress.adopted} adopted"] if progress.adopted else []
    else:
        parts.append("1 worker adopted" if progress.adopted == 1 else f"{progress.adopted} workers adopted")
    if progress.problem:
        parts.append(progress.problem.partition("\n")[0])
    return ", ".join(parts)


class ProgressPrinter:
    """Writes to ``stream`` (default: stderr).  ``quiet`` keeps the numbers back, not the messages."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._rewrites = self._stream.isatty()
        self._shown = ""
        self.quiet = False

    def progress(self, progress: Progress) -> None:
        """Show the numbers."""
        line = describe(progress)
        if self.quiet or line == self._shown:
            return
        if self._rewrites:
            self._write(f"{_ERASE}{line}")
        else:
            self._write(f"dlaunch: {line}\n")
        self._shown = line

    def tell(self, text: str, warning: bool) -> None:
        """Show a message on a line of its own; ``warning`` marks it."""
        mark = "warning: " if warning else ""
        again = self._shown if self._rewrites and not self.quiet else ""
        erase = _ERASE if self._rewrites and self._shown else ""
        self._write(f"{erase}dlaunch: {mark}{text}\n{again}")

    def say(self, text: str) -> None:
        """Print a result on stdout, clear of the line that is being rewritten."""
        if self._rewrites and self._shown:
            self._write(_ERASE)
        # A reader that has gone is no reason to end the cluster.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
        if self._rewrites and self._shown and not self.quiet:
            self._write(self._shown)

    def finish(self) -> None:
        """End the line that is being rewritten."""
        if self._rewrites and self._shown:
            self._write("\n")
        self._shown = ""

    def _write(self, text: str) -> None:
        # The terminal may be gone after a logout; the cluster goes on.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
