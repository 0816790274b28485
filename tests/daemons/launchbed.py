"""``dlaunch`` as users run it, for tests that kill it: real processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.aio import until_sync

ROOT = Path(__file__).parents[2]
DLAUNCH = ("-m", "launchers.cli")


class Run:
    """A command that runs: its process, and what it has said so far."""

    def __init__(self, program: tuple[str, ...], argv: tuple[str, ...], folder: Path, **kw) -> None:
        self.out, self.err = folder / "out", folder / "err"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, *program, *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                **kw,
            )

    @property
    def said(self) -> str:
        return self.out.read_text(errors="replace") + self.err.read_text(errors="replace")

    def until_said(self, text: str, timeout_s: float = 30.0) -> None:
        with contextlib.suppress(AssertionError):
            until_sync(lambda: text in self.said or self.process.poll() is not None, timeout_s)
        assert text in self.said, f"{text!r} was not said:\n{self.said}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self, timeout_s: float = 40.0) -> int:
        try:
            return self.process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.said}") from None


def processes_of(home: Path) -> list[str]:
    """Number and command line of each process whose words or variables name this home."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if str(home) in line and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {line}")
    return found


class Launching:
    """Starts commands below ``folder``; ``close`` proves that nothing of ``home`` is left running."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.home = home
        self.runs: list[Run] = []

    def __call__(self, *argv: str, program: tuple[str, ...] = DLAUNCH, **kw) -> Run:
        folder = self.folder / f"run{len(self.runs)}"
        folder.mkdir()
        self.runs.append(Run(program, argv, folder, **kw))
        return self.runs[-1]

    def done(self, *argv: str) -> Run:
        """Run one to its end."""
        run = self(*argv)
        run.wait()
        return run

    def folders(self) -> list[str]:
        return sorted(path.name for path in (self.home / ".dlaunch").iterdir() if path.is_dir())

    def close(self) -> None:
        for run in self.runs:
            if run.process.poll() is None:
                run.kill()
        try:
            until_sync(lambda: not processes_of(self.home), 15)
        except AssertionError:
            left = processes_of(self.home)
            for line in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(line.split()[0]), signal.SIGKILL)
            raise AssertionError(f"left behind: {left}") from None


@contextlib.contextmanager
def launching(folder: Path, home: Path) -> Iterator[Launching]:
    """Give what starts commands; in the end nothing of them may be left."""
    bed = Launching(folder, home)
    try:
        yield bed
    finally:
        bed.close()
