"""Where the time of a lonely task goes: from ``submit`` to its result here, step by step, in microseconds.

    ./run python benchmarks/lonely.py [--tasks N]

A scheduler, a worker of one thread and a client, each of which notes the time when it receives, decides, sends, and
wakes a thread.  All read the same clock.  Of the tasks, submitted one after the other, those count that went the most
common way; each step has the median of its durations.  To note the time costs half a microsecond, 25 times per task.
"""

from __future__ import annotations

import argparse
import atexit
import functools
import os
import statistics
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "programs"))

WARM_UP = 200
Notes = list[tuple[int, str]]


def stamp(notes: Notes, owner: Any, method: str, before: str = "", after: str = "") -> None:
    """Have calls of a method note the time at their begin and their end."""
    original = getattr(owner, method)

    @functools.wraps(original)
    def stamped(*args: Any, **kwargs: Any) -> Any:
        if before:
            notes.append((time.monotonic_ns(), before))
        result = original(*args, **kwargs)
        if after:
            notes.append((time.monotonic_ns(), after))
        return result

    setattr(owner, method, stamped)


def stamp_all(role: str) -> Notes:
    """Have what this process does for a task noted, from here on."""
    from distributed.client.session import Session
    from distributed.connection import Connection
    from distributed.poller import Poller
    from distributed.worker.daemon import Worker
    from distributed.worker.running import TaskRunner

    notes: Notes = []
    stamp(notes, Poller, "_take_turn", before=f"{role}: woken")
    stamp(notes, Connection, "_fill_buffer", after=f"{role}: received")
    stamp(notes, Connection, "_write", before=f"{role}: encoded, sends", after=f"{role}: sent")
    stamp(notes, Session, "_on_wake", before="client: loop looks")
    stamp(notes, TaskRunner, "__call__", before="worker: thread begins", after="worker: thread has ended it")
    stamp(notes, Worker, "_collect", before="worker: loop looks")
    return notes


def run_daemon(role: str, path: str, arguments: list[str]) -> None:
    """Run a command of ours, its notes in a file at the end."""
    from distributed.cli import dscheduler, dworker

    notes = stamp_all(role)
    at_exit = os._exit

    def leave(code: int) -> None:
        Path(path).write_text("".join(f"{at} {what}\n" for at, what in notes))
        at_exit(code)

    os._exit = leave  # type: ignore[assignment]
    atexit.register(leave, 0)
    sys.argv = [f"d{role}", *arguments]
    {"scheduler": dscheduler.main, "worker": dworker.main}[role]()


def measure(folder: Path, number: int) -> list[Notes]:
    """Return the notes of each task, of all processes, in order of time."""
    from bench_clusters import Ours
    from bench_functions import increment

    class Stamped(Ours):
        def _command(self, role: str, arguments: list[str]) -> list[str]:
            return [__file__, "--as", role, str(folder / f"{role}.notes"), *arguments]

        def _scheduler(self) -> list[str]:
            return self._command("scheduler", super()._scheduler()[2:])

        def _workers(self, count: int) -> list[str]:  # noqa: ARG002
            where = ["--cluster-file", str(self.file), "--nthreads", "1", "--host", "127.0.0.1"]
            return self._command("worker", ["--no-nanny", *where])

    notes = stamp_all("client")
    cluster = Stamped(folder)
    try:
        cluster.start_workers(1)
        cluster.await_workers(1)
        for count in range(WARM_UP + number):
            notes.append((time.monotonic_ns(), "client: submits"))
            future = cluster.submit(increment, count)
            notes.append((time.monotonic_ns(), "client: submitted, waits"))
            assert cluster.result(future) == count + 1
            notes.append((time.monotonic_ns(), "client: has it"))
    finally:
        cluster.close()
    for role in ("scheduler", "worker"):
        lines = (folder / f"{role}.notes").read_text().splitlines()
        notes += [(int(at), what) for at, what in (line.split(" ", 1) for line in lines)]
    notes.sort()
    starts = [at for at, what in notes if what == "client: submits"][WARM_UP:]
    ends = [at for at, what in notes if what == "client: has it"][WARM_UP:]
    times = [at for at, _ in notes]
    return [
        notes[bisect_left(times, start) : bisect_left(times, end) + 1] for start, end in zip(starts, ends, strict=True)
    ]


def report(tasks: list[Notes]) -> None:
    """Print the steps of those that went the most common way."""

    def way(task: Notes) -> tuple[str, ...]:
        return tuple(what for _, what in task)

    [(common, number)] = Counter(map(way, tasks)).most_common(1)
    alike = [task for task in tasks if way(task) == common]
    whole = statistics.median((task[-1][0] - task[0][0]) / 1e3 for task in tasks)
    print(f"{len(tasks)} tasks, median {whole:.0f} us; the {number} that went the most common way:")
    print("    at  took  until")
    for step, what in enumerate(common):
        at = statistics.median((task[step][0] - task[0][0]) / 1e3 for task in alike)
        took = statistics.median((task[step][0] - task[max(step - 1, 0)][0]) / 1e3 for task in alike)
        print(f"{at:6.0f} {took:5.0f}  {what}")


def main() -> None:
    """Run what the arguments say."""
    if sys.argv[1:2] == ["--as"]:
        run_daemon(*sys.argv[2:4], sys.argv[4:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        report(measure(Path(folder), arguments.tasks))


if __name__ == "__main__":
    main()
