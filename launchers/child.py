"""The user's own command, run against the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from launchers.signals import signal_child

__all__ = ["ChildCommand"]

_TERM_S = 10.0


class ChildCommand:
    """A running command with our stdin, stdout and stderr; it finds the cluster by ``DLAUNCH_CLUSTER_FILE``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, argv: Sequence[str], cluster_file: Path) -> ChildCommand:
        """Start it.  Raises OSError if it cannot be run."""
        env = {**os.environ, "DLAUNCH_CLUSTER_FILE": str(cluster_file)}
        env.pop("DLAUNCH_CLUSTER", None)
        return cls(await asyncio.create_subprocess_exec(*argv, env=env))

    async def wait(self) -> int:
        """Wait for its end and return its exit code as a shell would: 128 + N if signal N ended it."""
        code = await self._process.wait()
        return 128 - code if code < 0 else code

    def pass_on(self, number: int, times: int) -> bool:
        """Hand a signal of ours to the command; whether it was there to get it.  The third one ends it by force."""
        if self._process.returncode is not None:
            return False
        # A Ctrl-C at the terminal reached it already: it is in the same foreground group as we are.
        if not (number == signal.SIGINT and _is_in_foreground()):
            self._send(number)
        if times > 2:
            self._send(signal.SIGKILL)
        return True

    async def end(self) -> None:
        """End it: TERM, and KILL if that does not help."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._send(number)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), _TERM_S)
                return

    def _send(self, number: int) -> None:
        if self._process.returncode is None:
            signal_child(self._process.pid, number)


def _is_in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
