"""The budget of one task: what each process and thread spends on it, in microseconds of CPU.

    ./run python benchmarks/budget.py [CASE...] [--rounds N] [--workers N]

CPU time is read per thread from the kernel's accounts (``/proc/PID/task/*/schedstat``), so that other load on the
machine changes the figures little, unlike tasks per second.  Cases as in ``python -m benchmarks``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "programs"))

from bench_cases import CASES, Figures, warm_up
from bench_clusters import Ours

TASKS = {"throughput": 10_000, "latency": 500, "tree": 8191, "chain": 1_000, "all_to_all": 1_000, "chunks": 1_000_000}
"""How many tasks a case is at scale 1."""


def cpu_s(pid: int) -> dict[str, float]:
    """Return name of the thread -> seconds of CPU that it has used, of one process."""
    spent: dict[str, float] = defaultdict(float)
    for folder in Path(f"/proc/{pid}/task").iterdir():
        main = folder.name == str(pid)
        name = "main" if main else "others"
        spent[name] += int((folder / "schedstat").read_text().split()[0]) / 1e9
    return spent


def accounts(cluster: Ours) -> dict[str, float]:
    """Return ``role thread`` -> seconds of CPU."""
    sums: dict[str, float] = defaultdict(float)
    for role, pids in cluster.processes().items():
        for pid in pids:
            for name, spent_s in cpu_s(pid).items():
                sums[f"{role} {name}"] += spent_s
    return sums


def measure(cluster: Ours, case: str, rounds: int) -> None:
    """Run a case so often and print medians."""
    spent: dict[str, list[float]] = defaultdict(list)
    figures: list[Figures] = []
    for _ in range(rounds):
        before, began = accounts(cluster), time.perf_counter()
        figures.append(CASES[case](cluster, 1.0))
        taken_s, after = time.perf_counter() - began, accounts(cluster)
        spent["wall"].append(taken_s / TASKS[case] * 1e6)
        for name in after:
            spent[name].append((after[name] - before.get(name, 0.0)) / TASKS[case] * 1e6)
    parts = "  ".join(f"{name} {statistics.median(values):.2f}" for name, values in spent.items())
    rates = ", ".join(f"{statistics.median(f[name] for f in figures):,.2f} {name}" for name in figures[0])
    print(f"{case:12} {rates}\n{'':12} us/task: {parts}", flush=True)


def main() -> None:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=["throughput", "latency", "tree", "chain", "all_to_all"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with contextlib.closing(Ours(Path(folder))) as cluster:
            cluster.start_workers(arguments.workers)
            cluster.await_workers(arguments.workers)
            warm_up(cluster)
            for case in arguments.cases:
                measure(cluster, case, arguments.rounds)


if __name__ == "__main__":
    main()
