"""How the costs grow with the cluster and the work: the real scheduler with simulated workers and clients.

    python -m benchmarks.growth                       # about ten minutes
    python -m benchmarks.growth --scale 0.01          # a smoke run

Workers and clients are connections of one process each, over real sockets, handshake and heartbeats included: 10,000
workers need a limit of 10,100 open files in the scheduler's process and in theirs.  The machine, which decides, is
measured by itself too, with ten million tasks.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.__main__ import RESULTS, VENVS, describe, keep
from benchmarks.report import render_file
from benchmarks.scheduler_machine import answers, cluster
from benchmarks.subjects import ROOT
from distributed.messages import ReleaseKeys, SubmitBlock
from distributed.scheduler.events import ClientMessages
from distributed.scheduler.liveness import heartbeat_s

PROGRAMS = ROOT / "benchmarks" / "programs"
sys.path.insert(0, str(PROGRAMS))

from bench_crowd import await_none, crowd, run_tasks  # noqa: E402 - found through the line above
from bench_engines import opened  # noqa: E402
from bench_measure import cpu_s, settle, uss_bytes  # noqa: E402

CROWDS = (10, 100, 1_000, 10_000)
CLIENTS = (1, 10, 100, 1_000)
TASKS = 100_000
MACHINE_TASKS = 10_000_000
BATCH = 1_000
IDLE_S = 20.0

Points = list[tuple[int, float]]


def curve(title: str, unit: str, size: str, **lines: Points) -> dict[str, Any]:
    """Return a curve as it is kept."""
    return {"title": title, "unit": unit, "size": size, "lines": lines}


# -- the machine by itself -------------------------------------------------------------------------------


def machine_run(workers: int, tasks: int, parts: int) -> list[float]:
    """Submit tasks in batches, let them run, forget them; return microseconds per task of each part of the run."""
    machine, spent_s, found = cluster(workers), 0.0, []
    edge = tasks // parts
    for start in range(0, tasks, BATCH):
        keys = [f"inc-{number:032x}" for number in range(start, start + BATCH)]
        functions = {"f" * 32: b"f" * 200} if start == 0 else {}
        block = SubmitBlock("f" * 32, keys, [b"a" * 40] * BATCH, functions)
        events: list[Any] = [ClientMessages("client", [block])]
        while events:
            event = events.pop()
            begin_s = time.thread_time()
            actions = machine.handle(event)
            spent_s += time.thread_time() - begin_s
            events += answers(actions)
        begin_s = time.thread_time()
        machine.handle(ClientMessages("client", [ReleaseKeys(keys)]))
        spent_s += time.thread_time() - begin_s
        if (start + BATCH) % edge == 0:
            found.append(spent_s / edge * 1e6)
            spent_s = 0.0
    assert not any(worker.processing for worker in machine.state.workers.values())
    return found


def machine_curves(scale: float) -> list[dict[str, Any]]:
    """The machine's cost per task along a long run, and by the number of workers."""
    total = max(int(MACHINE_TASKS * scale) // (10 * BATCH), 1) * 10 * BATCH
    costs = machine_run(1_000, total, 10)
    along = [((number + 1) * total // 10, cost) for number, cost in enumerate(costs)]
    by_workers = [(count, machine_run(count, max(int(TASKS * scale), BATCH), 1)[0]) for count in CROWDS]
    return [
        curve("scheduler's machine alone, 1,000 workers", "CPU us per task", "tasks so far", machine=along),
        curve("scheduler's machine alone", "CPU us per task", "workers", machine=by_workers),
    ]


# -- the daemon ------------------------------------------------------------------------------------------


def workers_curves(scale: float) -> list[dict[str, Any]]:
    """Everything that depends on the number of workers, each number with a new scheduler."""
    figures: dict[str, Points] = {name: [] for name in ("rate", "cost", "joined", "idle", "memory")}
    for full in CROWDS:
        count = max(2, int(full * scale))
        with opened("dlaunch") as engine:
            for name, value in _with_workers(engine, count, scale).items():
                figures[name].append((count, value))
    return [
        curve(f"{int(TASKS * scale):,} no-op tasks", "tasks/s", "workers", tasks=figures["rate"]),
        curve("scheduler, of the same", "CPU us per task", "workers", scheduler=figures["cost"]),
        curve("workers that come at once, until all are registered", "s", "workers", registered=figures["joined"]),
        curve("scheduler while nothing happens but heartbeats", "CPU % of a core", "workers", idle=figures["idle"]),
        curve("scheduler, private memory", "bytes per registered worker", "workers", memory=figures["memory"]),
    ]


def _with_workers(engine: Any, count: int, scale: float) -> dict[str, float]:
    pids = [engine.scheduler.pid]
    before = uss_bytes(pids)
    with crowd(engine.file, "workers", count) as (_, registered_s):
        memory = (uss_bytes(pids) - before) / count
        run_tasks(engine, 10 * count)
        per_s, us = run_tasks(engine, int(TASKS * scale))
        idle = idle_percent(pids, count, scale)
    return {"rate": per_s, "cost": us, "joined": registered_s, "idle": idle, "memory": memory}


def idle_percent(pids: list[int], workers: int, scale: float) -> float:
    """Return what the processes use while nobody wants anything, and each worker knows that it is one of so many."""
    settle(pids)
    time.sleep(heartbeat_s(workers) * min(1.0, scale))
    watch_s = IDLE_S * min(1.0, max(0.1, scale))
    before_s, began = cpu_s(pids), time.perf_counter()
    time.sleep(watch_s)
    return (cpu_s(pids) - before_s) / (time.perf_counter() - began) * 100


def clients_curve(engine: Any, scale: float) -> dict[str, Any]:
    """The same work from one client and from a thousand."""
    points = []
    with crowd(engine.file, "workers", 100):
        for full in CLIENTS:
            count = max(1, int(full * scale))
            tasks = max(int(TASKS * scale), count)
            with crowd(engine.file, "clients", count, tasks) as (process, _):
                assert process.stdout is not None
                told = json.loads(process.stdout.readline())
            points.append((count, told["tasks"] / told["seconds"]))
            settle([engine.scheduler.pid])
    await_none(engine)
    return curve(f"{int(TASKS * scale):,} no-op tasks, 100 workers", "tasks/s", "clients", tasks=points)


def main() -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="1: all of it; 0.01: a smoke run")
    parser.add_argument("--venvs", type=Path, default=VENVS, help=f"where matplotlib is installed ({VENVS})")
    parser.add_argument("--output", type=Path, default=None, help="file of results, its plot beside it")
    arguments = parser.parse_args()
    day = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d")
    output = arguments.output or RESULTS / f"{day}-growth.json"
    arguments.rounds = 1
    results = describe(arguments, ["dlaunch"], "benchmarks.growth")
    os.environ["PYTHONPATH"] = str(ROOT)
    curves: list[dict[str, Any]] = results.setdefault("curves", [])
    curves += workers_curves(arguments.scale)
    with opened("dlaunch") as engine:
        curves.append(clients_curve(engine, arguments.scale))
        results["subjects"]["dlaunch"]["version"] = engine.version_of()
    curves += machine_curves(arguments.scale)
    keep(results, output, arguments.venvs)
    print(render_file(output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
