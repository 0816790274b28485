"""``dlaunch`` as the clusters' tests run it: as the normal user of a bed, its two outputs kept apart."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.aio import until_sync
from tests.beds.hosts import HostsBed

MAP = """
import sys
from distributed import Client
with Client(*sys.argv[1:]) as client:
    print(sum(client.gather(client.map(lambda x: x * x, range(10_000)))))
"""
MAP_BODY = """
print(sum(c.gather(c.map(lambda x: x * x, range(10_000)))))
print(len(c.ncores()))
c.close()
"""
SUM_OF_SQUARES = str(sum(x * x for x in range(10_000)))


class Run:
    """A ``dlaunch`` that runs: its process, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def until_said(self, text: str, timeout_s: float = 60.0) -> None:
        def said() -> bool:
            if text in self.stdout + self.stderr:
                return True
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.stdout}\n{self.stderr}"
            return False

        try:
            until_sync(said, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{text!r} was not said:\n{self.stdout}\n{self.stderr}") from error

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)


@contextlib.contextmanager
def starting(bed: HostsBed, make_folder: pytest.TempPathFactory, *command: str) -> Iterator[Callable[..., Run]]:
    """``start(*arguments)``: run ``command`` with these as the normal user; nothing of it is left at the end."""
    runs: list[Run] = []

    def start(*arguments: str, **kw: object) -> Run:
        folder = make_folder.mktemp("dlaunch")
        with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
            process = bed.popen([*command, *arguments], stdout=out, stderr=err, **kw)
        runs.append(Run(process, folder))
        return runs[-1]

    yield start
    for run in runs:
        # A failed test must not leave its jobs to the next one.
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.process.terminate()
            run.process.wait(timeout=30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()


def folders(bed: HostsBed) -> str:
    """The clusters' folders in the normal user's home."""
    return bed.run(["find", ".dlaunch", "-mindepth", "1", "-maxdepth", "1", "-type", "d"], check=False).stdout
