"""What the tests of nanny and dworker share: a scheduler that only takes note, programs, process tables."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed.daemon import Daemon, operation, stream_operation
from distributed.errors import CommError
from distributed.messages import Goodbye, Reply
from tests.aio import until_sync

ROOT = Path(__file__).parents[2]


class NotingScheduler(Daemon):
    """Registers workers and takes note of what it is told; ``workers``: address -> what it said of itself."""

    kind = "Scheduler"

    def __init__(self, **settings: Any) -> None:
        super().__init__(host="127.0.0.1", **settings)
        self.workers: dict[str, dict[str, Any]] = {}
        self.registrations = 0
        self.goodbyes: list[str] = []
        self.exits: list[tuple[str, str, bool]] = []
        self.refusal = ""

    @stream_operation
    async def register_worker(
        self,
        connection,
        request_id: int,
        *,
        address: str,
        name: str = "",
        nthreads: int = 1,
        memory_limit: int | None = None,
        resources: dict[str, float] | None = None,
        nanny: str | None = None,
        host: str = "",
        pid: int = 0,
        job_id: str = "",
        versions: dict[str, str] | None = None,
        data: dict[str, int] | None = None,
    ) -> None:
        if self.refusal:
            raise CommError(self.refusal)
        known = {"name": name, "nthreads": nthreads, "memory_limit": memory_limit, "pid": pid}
        known |= {"resources": resources, "nanny": nanny, "job_id": job_id}
        self.workers[address] = known
        self.registrations += 1
        connection.send(Reply(request_id, {"id": self.id, "name": name or address, "heartbeat_s": 10.0}))
        try:
            while True:
                for message in await connection.read():
                    if isinstance(message, Goodbye):
                        self.goodbyes.append(address)
        except CommError:
            pass
        finally:
            self.workers.pop(address, None)

    @operation
    async def worker_exited(self, worker: str, reason: str, expected: bool = False) -> None:
        self.exits.append((worker, reason, expected))

    def pids(self) -> list[int]:
        """The processes of the workers that are registered now."""
        return [known["pid"] for known in self.workers.values()]


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def family(pid: int) -> list[int]:
    """All descendants of a process."""
    below = children(pid)
    return below + [grandchild for child in below for grandchild in family(child)]


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def gone(pids: list[int]) -> bool:
    return not any(map(is_alive, pids))


@contextlib.contextmanager
def program(*argv: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program with its output in pipes; killed with all its family at the end."""
    process = subprocess.Popen(
        [sys.executable, *argv],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, to be signalled as a whole
    )
    below: list[int] = []
    try:
        yield process
        if process.poll() is None:
            below = family(process.pid)
    finally:
        for pid in [process.pid, *below]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()
        until_sync(lambda: gone(below), what="the end of all processes")


def dworker(*options: str, **environment: str) -> contextlib.AbstractContextManager[Any]:
    """The command ``dworker`` as a process."""
    return program("-m", "distributed.cli.dworker", *options, **environment)


async def line_of(process: subprocess.Popen[str], timeout_s: float = 10.0) -> str:
    """The next line that a program prints."""
    assert process.stdout is not None
    reading = asyncio.to_thread(process.stdout.readline)
    return (await asyncio.wait_for(reading, timeout_s)).rstrip("\n")


async def end_of(process: subprocess.Popen[str], timeout_s: float = 10.0) -> int:
    """The exit code of a program that is about to end."""
    return await asyncio.to_thread(process.wait, timeout_s)
