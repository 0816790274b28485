"""Growth of the cluster: the real scheduler and simulated workers, over real sockets."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_cases import Figures, check
from bench_functions import increment
from bench_measure import cpu_s, settle

PROGRAM = Path(__file__).resolve().parent / "bench_simulated.py"
PATIENCE_S = 120.0


@contextlib.contextmanager
def crowd(cluster_file: Path, role: str, count: int, *more: int) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """Yield the process of a registered crowd and the seconds that it took to register."""
    argv = [sys.executable, str(PROGRAM), str(cluster_file), role, str(count), *map(str, more)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        try:
            words = process.stdout.readline().split()
            if words[:1] != ["ready"]:
                raise RuntimeError(f"{count} simulated {role} did not register")
            yield process, float(words[1])
        finally:
            process.kill()


def run_tasks(engine: Any, tasks: int) -> tuple[float, float]:
    """Run tasks on a crowd; return tasks/s, and CPU microseconds of the scheduler per task.

    They are released before it returns: a later run is not to pay for an earlier one.
    """
    before_s, began = cpu_s([engine.scheduler.pid]), time.perf_counter()
    results = engine.gather(engine.map(increment, range(tasks)))
    taken_s = time.perf_counter() - began
    spent_s = cpu_s([engine.scheduler.pid]) - before_s
    check(results, [None] * tasks)
    settle([engine.scheduler.pid])
    return tasks / taken_s, spent_s / tasks * 1e6


def simulated(engine: Any, scale: float) -> Figures:
    """Tasks per second with ten and with ten thousand workers that cost nothing themselves."""
    rates, cpu_us = [], []
    for count in (10, int(10_000 * scale)):
        with crowd(engine.file, "workers", count) as (_, registered_s):
            run_tasks(engine, 10 * count)
            rate, spent_us = run_tasks(engine, int(100_000 * scale))
            rates.append(rate)
            cpu_us.append(spent_us)
        await_none(engine)
    return {
        "tasks/s with few": rates[0],
        "tasks/s with many": rates[1],
        "many over few": rates[1] / rates[0],
        "few scheduler CPU us per task": cpu_us[0],
        "many scheduler CPU us per task": cpu_us[1],
        "many registered s": registered_s,
    }


def await_none(engine: Any) -> None:
    """Wait until the scheduler knows no worker any more."""
    deadline = time.monotonic() + PATIENCE_S
    while engine.client.ncores():
        if time.monotonic() > deadline:
            raise TimeoutError("the scheduler still has workers whose process has ended")
        time.sleep(0.05)
