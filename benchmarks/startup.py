"""How fast many workers are up, and what they cost while they have nothing to do.

    python benchmarks/startup.py                    # 64 workers, three rounds
    python benchmarks/startup.py --workers 8 --rounds 1 --idle-s 2

Each round starts a scheduler and one ``dworker --nprocs N`` on 127.0.0.1, and ends both.  Linux
only: memory is the proportional set size of /proc/PID/smaps_rollup, which counts a page shared by
N processes as 1/N of a page.  Exit code 1 if not all workers registered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from distributed.clusterfile import ClusterFile  # noqa: E402 - found through the line above
from distributed.pool import ConnectionPool  # noqa: E402
from distributed.wire.payload import dumps, loads  # noqa: E402

PATIENCE_S: Final = 120.0
MIB: Final = 2**20
TICK_S: Final = 1.0 / os.sysconf("SC_CLK_TCK")

FIGURES: Final = {
    "first_registered_s": "command to first worker registered, s",
    "all_registered_s": "command to all workers registered, s",
    "all_answered_s": "command to all workers have run a function, s",
    "worker_pss_mb": "memory per idle worker, PSS, MB (mean)",
    "worker_pss_largest_mb": "memory per idle worker, PSS, MB (largest)",
    "used_pss_mb": "the same after each has run a small function, MB (mean)",
    "others_pss_mb": "memory of dworker and its fork server together, PSS, MB",
    "workers_cpu_percent": "CPU of all idle workers together, % of a core",
    "others_cpu_percent": "CPU of dworker and its fork server, % of a core",
    "killed_back_s": "a quarter of the workers killed with signal 9: all registered again, s",
    "stop_s": "SIGTERM to everything gone, s",
}


class Program:
    """A command of ours; ``lines`` come from its stdout with the time of their arrival."""

    def __init__(self, module: str, *options: str, home: str) -> None:
        self.start_s = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *options],
            cwd=ROOT,
            env={**os.environ, "DLAUNCH_HOME": home, "DLAUNCH_LOG_LEVEL": "ERROR"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[tuple[float, str]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put((time.perf_counter() - self.start_s, line))

    def wait_for(self, beginning: str, count: int = 1) -> list[float]:
        """Return when lines with this beginning came, in seconds after the command."""
        times: list[float] = []
        deadline_s = time.perf_counter() + PATIENCE_S
        while len(times) < count:
            try:
                when_s, line = self._lines.get(timeout=max(0.0, deadline_s - time.perf_counter()))
            except queue.Empty:
                raise SystemExit(f"only {len(times)} of {count} lines {beginning!r}") from None
            if line.startswith(beginning):
                times.append(when_s)
        return times

    def stop(self) -> float:
        """End it; return how long that took."""
        begin_s = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return time.perf_counter() - begin_s


def children(pid: int) -> list[int]:
    """Return the direct children of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def pss_mb(pid: int) -> float:
    """Return the proportional set size of a process in MB (2**20)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / MIB
    return 0.0


def cpu_s(pids: list[int]) -> float:
    """Return the processor seconds that these processes have used."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * TICK_S


async def _all_answer(address: str, secret: bytes, workers: int) -> None:
    """Have every worker run a function, and check what it returned."""
    pool = ConnectionPool(secret)
    try:
        message = {"op": "run", "function": dumps((sum, ([1, 2, 3],), {}))}
        answers = await pool.request(address, "broadcast", message=message)
    finally:
        await pool.close()
    results = [loads(answer["result"]) for answer in answers.values() if "result" in answer]
    if results != [6] * workers:
        raise SystemExit(f"{len(results)} of {workers} workers answered: {answers}")


def one_round(workers: int, idle_s: float) -> dict[str, float]:
    """Start, measure and stop one cluster, with two sets of workers; return the figures by name."""
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        path = Path(home) / "cluster.json"
        host = ["--host", "127.0.0.1", "--cluster-file", str(path)]
        scheduler = Program("distributed.cli.dscheduler", "--port", "0", *host, home=home)
        stack.callback(scheduler.stop)
        scheduler.wait_for("Start scheduler at")
        cluster = ClusterFile.read(path)
        figures: dict[str, float] = {}
        for measure in (_busy, _idle):
            program = Program("distributed.cli.dworker", "--nprocs", str(workers), *host, home=home)
            stack.callback(program.stop)
            times = program.wait_for("Registered with center at:", workers)
            figures |= {"first_registered_s": times[0], "all_registered_s": times[-1]}
            figures |= measure(program, cluster, workers, idle_s)
            figures["stop_s"] = program.stop()
        return figures


def _busy(program: Program, cluster: ClusterFile, workers: int, _idle_s: float) -> dict[str, float]:
    asyncio.run(_all_answer(cluster.addresses[0], cluster.secret_bytes, workers))
    answered_s = time.perf_counter() - program.start_s
    (server,) = children(program.process.pid)
    sizes = [pss_mb(pid) for pid in children(server)]
    return {
        "all_answered_s": answered_s,
        "used_pss_mb": statistics.fmean(sizes),
        "killed_back_s": _kill_some(program, children(server)[: max(1, workers // 4)]),
    }


def _idle(program: Program, _cluster: ClusterFile, workers: int, idle_s: float) -> dict[str, float]:
    time.sleep(1.0)  # what a start leaves behind is done by then
    pid = program.process.pid
    (server,) = children(pid)
    pids = children(server)
    if len(pids) != workers:
        raise SystemExit(f"{len(pids)} of {workers} workers are alive")
    sizes = [pss_mb(worker) for worker in pids]
    before_s, others_before_s, begin_s = cpu_s(pids), cpu_s([pid, server]), time.perf_counter()
    time.sleep(idle_s)
    passed_s = time.perf_counter() - begin_s
    return {
        "worker_pss_mb": statistics.fmean(sizes),
        "worker_pss_largest_mb": max(sizes),
        "others_pss_mb": pss_mb(pid) + pss_mb(server),
        "workers_cpu_percent": 100.0 * (cpu_s(pids) - before_s) / passed_s,
        "others_cpu_percent": 100.0 * (cpu_s([pid, server]) - others_before_s) / passed_s,
    }


def _kill_some(program: Program, pids: list[int]) -> float:
    begin_s = time.perf_counter()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    program.wait_for("Registered with center at:", len(pids))
    return time.perf_counter() - begin_s


def _rows(rounds: list[dict[str, float]]) -> Iterator[str]:
    yield f"{'median':>9} {'from':>9} {'to':>9}"
    for name, title in FIGURES.items():
        values = [figures[name] for figures in rounds]
        middle, least, most = statistics.median(values), min(values), max(values)
        yield f"{middle:>9.3f} {least:>9.3f} {most:>9.3f}  {title}"


def main() -> int:
    """Run the rounds that the arguments ask for and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle-s", type=float, default=10.0, help="how long to watch idle workers")
    parser.add_argument("--json", action="store_true", help="one JSON line per round instead")
    arguments = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    for _ in range(arguments.rounds):
        rounds.append(one_round(arguments.workers, arguments.idle_s))
        if arguments.json:
            print(json.dumps(rounds[-1]), flush=True)
    if not arguments.json:
        print(f"{arguments.workers} workers of one dworker, {os.cpu_count()} cores")
        print("\n".join(_rows(rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
