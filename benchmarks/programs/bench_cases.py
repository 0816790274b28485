"""The cases.  Each returns figures by name and raises if a result was wrong.

They use only what all subjects share, see ``bench_engines.py``.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_functions import add, checksum, hold, increment, make_array, total, work_1_ms, work_100_us
from bench_measure import cpu_by_role, cpu_s, pss_bytes, settle, uss_bytes

Figures = dict[str, float]
_fresh = itertools.count(1_000_000, 10_000_000)
GIGA = 1e9
IDLE_S = 6.0
CHUNK = 1_000
WORKERS = 2
"""So many each subject has, of one thread."""


def check(got: object, wanted: object) -> None:
    """Raise if a result is wrong: a fast wrong answer is no figure."""
    if got != wanted:
        raise ValueError(f"wrong result {str(got)[:200]}, should be {str(wanted)[:200]}")


def warm_up(engine: Any) -> None:
    """Have every process import what the cases need, and every connection made."""
    start = next(_fresh)
    engine.gather(engine.map(increment, range(start, start + 500)))
    if "transfer" in engine.cases:
        array = engine.submit_at(0, make_array, 1_000_000, 1)
        engine.result(engine.submit_at(1, checksum, array))


# -- many small tasks ------------------------------------------------------------------------------------


def _independent(engine: Any, count: int) -> float:
    """Run so many no-ops, each with its own future; return the seconds until all results are here."""
    start = next(_fresh)
    began = time.perf_counter()
    results = engine.gather(engine.map(increment, range(start, start + count)))
    taken_s = time.perf_counter() - began
    check(results, list(range(start + 1, start + count + 1)))
    return taken_s


def throughput(engine: Any, scale: float) -> Figures:
    """Independent no-op tasks, and the processor time that each costs in each process."""
    count, processes = int(10_000 * scale), engine.processes()
    before = cpu_by_role(processes)
    figures = {"tasks/s": count / _independent(engine, count)}
    after = cpu_by_role(processes)
    for role, pids in processes.items():
        if pids:
            figures[f"{role} CPU us per task"] = (after[role] - before[role]) / count * 1e6
    return figures


def short(engine: Any, scale: float) -> Figures:
    """Tasks that take little more than to hand them out: which part of the time do the two workers spend in them?"""
    figures = {}
    for name, function, duration_s in (("0.1 ms", work_100_us, 1e-4), ("1 ms", work_1_ms, 1e-3)):
        count, start = int(0.4 / duration_s * scale), next(_fresh)
        began = time.perf_counter()
        results = engine.gather(engine.map(function, range(start, start + count)))
        taken_s = time.perf_counter() - began
        check(results, list(range(start + 1, start + count + 1)))
        figures[f"{name} %"] = 100 * count * duration_s / WORKERS / taken_s
    return figures


def chunks(engine: Any, scale: float) -> Figures:
    """A million calls that travel a thousand at a time."""
    count, start = int(1_000_000 * scale), next(_fresh)
    began = time.perf_counter()
    results = engine.chunked(increment, range(start, start + count), CHUNK)
    taken_s = time.perf_counter() - began
    check(results, list(range(start + 1, start + count + 1)))
    return {"calls/s": count / taken_s}


def latency(engine: Any, scale: float) -> Figures:
    """One no-op at a time, from ``submit`` to its result here."""
    count, start, taken_s = int(500 * scale), next(_fresh), []
    for number in range(start, start + count):
        began = time.perf_counter()
        result = engine.result(engine.submit(increment, number))
        taken_s.append(time.perf_counter() - began)
        check(result, number + 1)
    return ranks(taken_s)


def ranks(taken_s: list[float]) -> Figures:
    """Return the median and the 99th percentile in milliseconds."""
    ranked = sorted(taken_s)
    p99 = ranked[min(len(ranked) - 1, int(len(ranked) * 0.99))]
    return {"median ms": statistics.median(ranked) * 1e3, "p99 ms": p99 * 1e3}


def tree(engine: Any, scale: float) -> Figures:
    """A sum over 2^12 leaves, two at a time, submitted while it runs."""
    leaves, start = 2 ** (12 if scale >= 1 else 7), next(_fresh)
    began = time.perf_counter()
    level = engine.map(increment, range(start, start + leaves))
    everything = list(level)
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [engine.submit(add, left, right) for left, right in pairs]
        everything += level
    result = engine.result(level[0])
    taken_s = time.perf_counter() - began
    check(result, sum(range(start + 1, start + leaves + 1)))
    return {"tasks/s": len(everything) / taken_s}


def chain(engine: Any, scale: float) -> Figures:
    """Tasks of which each needs the one before."""
    count, start = int(1_000 * scale), next(_fresh)
    began = time.perf_counter()
    links = [engine.submit(increment, start)]
    for _ in range(count - 1):
        links.append(engine.submit(increment, links[-1]))
    result = engine.result(links[-1])
    taken_s = time.perf_counter() - began
    check(result, start + count)
    return {"tasks/s": count / taken_s}


def all_to_all(engine: Any, scale: float) -> Figures:
    """100 producers and 100 consumers of all of them; the median of five in a row, and the first of these."""
    count, rates = (100 if scale >= 1 else 20), []
    for start in itertools.islice(_fresh, 5):
        began = time.perf_counter()
        parts = engine.map(increment, range(start, start + count))
        sums = [engine.submit(total, *parts) for _ in range(count)]
        results = engine.gather(sums)
        rates.append(2 * count / (time.perf_counter() - began))
        check(results, [sum(range(start + 1, start + count + 1))] * count)
    return {"tasks/s": statistics.median(rates), "first tasks/s": rates[0]}


# -- large data ------------------------------------------------------------------------------------------


def transfer(engine: Any, scale: float) -> Figures:
    """An array of 256 MB between two workers, to a worker, and to the client, twice; medians of three."""
    nbytes = int(256_000_000 * scale) // 8 * 8
    ways: dict[str, Callable[[Any, int, int], list[float]]] = {
        "worker to worker": _between_workers,
        "client to worker": _to_worker,
        "worker to client": _to_client,
    }
    figures = {}
    for name, way in ways.items():
        taken_s = [way(engine, nbytes, next(_fresh)) for _ in range(3)]
        for ending, column in zip(("", ", again"), zip(*taken_s, strict=True), strict=False):
            figures[f"{name}{ending} GB/s"] = nbytes / GIGA / statistics.median(column)
    return figures


def _array_at(engine: Any, nbytes: int, seed: int) -> Any:
    array = engine.submit_at(0, make_array, nbytes, seed)
    engine.result(engine.submit_at(0, checksum, array))
    return array


def _between_workers(engine: Any, nbytes: int, seed: int) -> list[float]:
    array = _array_at(engine, nbytes, seed)
    began = time.perf_counter()
    result = engine.result(engine.submit_at(1, checksum, array))
    taken_s = time.perf_counter() - began
    check(result, checksum(make_array(nbytes, seed)))
    return [taken_s]


def _to_worker(engine: Any, nbytes: int, seed: int) -> list[float]:
    array = make_array(nbytes, seed)
    began = time.perf_counter()
    future = engine.put_at(0, array)
    taken_s = time.perf_counter() - began
    check(engine.result(engine.submit_at(0, checksum, future)), checksum(array))
    return [taken_s]


def _to_client(engine: Any, nbytes: int, seed: int) -> list[float]:
    future, taken_s, wanted = _array_at(engine, nbytes, seed), [], checksum(make_array(nbytes, seed))
    for _ in range(2):
        began = time.perf_counter()
        array = engine.result(future)
        taken_s.append(time.perf_counter() - began)
        check(checksum(array), wanted)
    return taken_s


# -- growth ----------------------------------------------------------------------------------------------


def growth(engine: Any, scale: float) -> Figures:
    """Tasks per second of ten thousand and of a million independent tasks."""
    few, many = int(10_000 * scale), int(1_000_000 * scale)
    small = statistics.median(few / _independent(engine, few) for _ in range(3))
    large = many / _independent(engine, many)
    return {"tasks/s of many": large, "many over few": large / small}


def held(engine: Any, scale: float) -> Figures:
    """The memory that a scheduler needs for each task that waits, and that has finished and is wanted."""
    count, start = int(engine.held_tasks * scale), next(_fresh)
    pids = [pid for role in engine.holders for pid in engine.processes()[role]]
    with tempfile.TemporaryDirectory() as folder:
        holding = engine.map(hold, [folder] * 2)
        while len(list(Path(folder).iterdir())) < 2:
            time.sleep(0.01)
        before = uss_bytes(pids)
        futures = engine.map(increment, range(start, start + count))
        settle(pids)
        pending = uss_bytes(pids) - before
        Path(folder, "go").touch()
        results = engine.gather(futures)
        check(results, list(range(start + 1, start + count + 1)))
        check(len(set(engine.gather(holding))), 2)
    del results
    settle(pids)
    finished = uss_bytes(pids) - before
    del futures
    return {"finished bytes": finished / count, "pending bytes": pending / count, "tasks": float(count)}


# -- idle workers ----------------------------------------------------------------------------------------


def startup(engine: Any, scale: float) -> Figures:
    """64 workers by one command on this host, then what they cost while they have nothing to do."""
    count, figures = int(64 * scale), {}
    began = time.perf_counter()
    engine.start_workers(count)
    if engine.registers:
        engine.await_workers(count)
        figures["registered s"] = time.perf_counter() - began
    check(len(engine.run_on_all(count)), count)
    figures["all have run s"] = time.perf_counter() - began
    time.sleep(IDLE_S / 2)  # what start-up left to do is not idleness
    workers = engine.processes()["workers"]
    before_s, began = cpu_s(workers), time.perf_counter()
    time.sleep(IDLE_S)
    cpu = (cpu_s(workers) - before_s) / (time.perf_counter() - began)
    return {
        **figures,
        "idle CPU % of a core": cpu * 100,
        "PSS MiB per worker": pss_bytes(workers) / count / 2**20,
    }


CASES: dict[str, Callable[[Any, float], Figures]] = {
    "throughput": throughput,
    "short": short,
    "chunks": chunks,
    "latency": latency,
    "tree": tree,
    "chain": chain,
    "all_to_all": all_to_all,
    "transfer": transfer,
    "growth": growth,
    "held": held,
    "startup": startup,
}
