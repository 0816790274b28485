"""The scheduler process that a launcher starts: a child that ends with its parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from distributed.errors import ConfigError
from launchers.signals import signal_child

__all__ = ["SchedulerProcess"]

_START_S = 60.0
_END_S = 15.0
_ADDRESS = "Start scheduler at"


class SchedulerProcess:
    """A ``dscheduler`` that publishes a cluster file.  ``address`` is ``"ip:port"`` once it is started."""

    def __init__(self, cluster_file: Path, log: Path) -> None:
        self.cluster_file = cluster_file
        self.log = log
        self.address = ""
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *, port: int = 0, host: str | None = None, interface: str | None = None) -> None:
        """Start it and wait until it listens.  Raises ConfigError with its own words if it cannot."""
        argv = [sys.executable, "-m", "distributed.cli.dscheduler", "--port", str(port)]
        argv += ["--cluster-file", str(self.cluster_file), "--death-of-parent"]
        argv += ["--host", host] if host else []
        argv += ["--interface", interface] if interface else []
        # What names another cluster around us is not meant for this one.
        env = {k: v for k, v in os.environ.items() if not k.startswith("DLAUNCH_CLUSTER")}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=env,
                # Ctrl-C is for the launcher, which ends its jobs first.
                start_new_session=True,
            )
        try:
            self.address = await asyncio.wait_for(self._read_address(), _START_S)
        except asyncio.TimeoutError as error:
            await self.end()
            raise ConfigError(f"the scheduler did not start within {_START_S:g} s, see {self.log}") from error
        except BaseException:
            await self.end()
            raise

    async def _read_address(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            text = line.decode(errors="replace").strip()
            if text.startswith(_ADDRESS):
                return text.split()[-1]
        code = await self._process.wait()
        raise ConfigError(f"the scheduler could not start: {self._last_words() or f'exit code {code}'}")

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
            said = [line.partition(": ")[2] for line in lines if line.startswith("dscheduler: ")]
            return said[-1] if said else (lines[-1] if lines else "")
        return ""

    async def wait(self) -> int:
        """Wait for its end and return its exit code."""
        assert self._process is not None
        return await self._process.wait()

    async def end(self) -> None:
        """End it, by force if it does not end by itself.  Idempotent."""
        if self._process is None or self._process.returncode is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal_child(self._process.pid, number)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), _END_S)
                return
