"""The cases.  Each returns figures by name and raises if a result was wrong.

They use only what both subjects share: ``submit``, ``map``, ``gather``, ``scatter``, ``run`` and
``result``.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import psutil
from bench_clusters import Cluster
from bench_functions import add, checksum, increment, make_array, total

Figures = dict[str, float]
_fresh = itertools.count(1_000_000, 1_000_000)
GIGA = 1e9
IDLE_S = 10.0


def check(got: object, wanted: object) -> None:
    """Raise if a result is wrong: a fast wrong answer is no figure."""
    if got != wanted:
        raise ValueError(f"wrong result {got!r}, should be {wanted!r}")


def warm_up(cluster: Cluster) -> None:
    """Have every process import what the cases need, and every connection made."""
    client = cluster.client
    start = next(_fresh)
    client.gather(client.map(increment, range(start, start + 500), pure=False))
    here, there = cluster.addresses()[:2]
    array = client.submit(make_array, 1_000_000, 1, pure=False, workers=[here])
    client.submit(checksum, array, pure=False, workers=[there]).result()


def throughput(cluster: Cluster, scale: float) -> Figures:
    """Independent no-op tasks, each with its own future, from ``map`` to all results here."""
    count, start, client = int(10_000 * scale), next(_fresh), cluster.client
    began = time.perf_counter()
    futures = client.map(increment, range(start, start + count), pure=False)
    results = client.gather(futures)
    taken_s = time.perf_counter() - began
    check(results, list(range(start + 1, start + count + 1)))
    return {"tasks/s": count / taken_s}


def latency(cluster: Cluster, scale: float) -> Figures:
    """One no-op at a time, from ``submit`` to its result here."""
    count, start, client, taken_s = int(500 * scale), next(_fresh), cluster.client, []
    for number in range(start, start + count):
        began = time.perf_counter()
        result = client.submit(increment, number, pure=False).result()
        taken_s.append(time.perf_counter() - began)
        check(result, number + 1)
    ranked = sorted(taken_s)
    p99 = ranked[min(count - 1, int(count * 0.99))]
    return {"median ms": statistics.median(ranked) * 1e3, "p99 ms": p99 * 1e3}


def tree(cluster: Cluster, scale: float) -> Figures:
    """A sum over 2^12 leaves, two at a time, submitted while it runs."""
    leaves, start, client = 2 ** (12 if scale >= 1 else 7), next(_fresh), cluster.client
    began = time.perf_counter()
    level = client.map(increment, range(start, start + leaves), pure=False)
    everything = list(level)
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [client.submit(add, left, right, pure=False) for left, right in pairs]
        everything += level
    result = level[0].result()
    taken_s = time.perf_counter() - began
    check(result, sum(range(start + 1, start + leaves + 1)))
    return {"tasks/s": len(everything) / taken_s}


def chain(cluster: Cluster, scale: float) -> Figures:
    """Tasks of which each needs the one before."""
    count, start, client = int(1_000 * scale), next(_fresh), cluster.client
    began = time.perf_counter()
    links = [client.submit(increment, start, pure=False)]
    for _ in range(count - 1):
        links.append(client.submit(increment, links[-1], pure=False))
    result = links[-1].result()
    taken_s = time.perf_counter() - began
    check(result, start + count)
    return {"tasks/s": count / taken_s}


def all_to_all(cluster: Cluster, scale: float) -> Figures:
    """100 producers and 100 consumers of all of them."""
    count, start, client = (100 if scale >= 1 else 20), next(_fresh), cluster.client
    began = time.perf_counter()
    parts = client.map(increment, range(start, start + count), pure=False)
    sums = [client.submit(total, *parts, pure=False) for _ in range(count)]
    results = client.gather(sums)
    taken_s = time.perf_counter() - began
    check(results, [sum(range(start + 1, start + count + 1))] * count)
    return {"tasks/s": 2 * count / taken_s}


def transfer(cluster: Cluster, scale: float) -> Figures:
    """An array of 256 MB between two workers, to a worker, and to the client; medians of three."""
    nbytes = int(256_000_000 * scale) // 8 * 8
    here, there = cluster.addresses()[:2]
    ways: dict[str, Callable[[Any, int, str, str, int], float]] = {
        "worker to worker GB/s": _between_workers,
        "client to worker GB/s": _to_worker,
        "worker to client GB/s": _to_client,
    }
    figures = {}
    for name, way in ways.items():
        taken_s = [way(cluster.client, nbytes, here, there, next(_fresh)) for _ in range(3)]
        figures[name] = nbytes / GIGA / statistics.median(taken_s)
    return figures


def _array_at(client: Any, nbytes: int, worker: str, seed: int) -> Any:
    array = client.submit(make_array, nbytes, seed, pure=False, workers=[worker])
    client.submit(checksum, array, pure=False, workers=[worker]).result()
    return array


def _between_workers(client: Any, nbytes: int, here: str, there: str, seed: int) -> float:
    array = _array_at(client, nbytes, here, seed)
    began = time.perf_counter()
    result = client.submit(checksum, array, pure=False, workers=[there]).result()
    taken_s = time.perf_counter() - began
    check(result, checksum(make_array(nbytes, seed)))
    return taken_s


def _to_worker(client: Any, nbytes: int, here: str, _there: str, seed: int) -> float:
    array = make_array(nbytes, seed)
    began = time.perf_counter()
    future = client.scatter(array, workers=[here])
    taken_s = time.perf_counter() - began
    found = client.submit(checksum, future, pure=False, workers=[here]).result()
    check(found, checksum(array))
    return taken_s


def _to_client(client: Any, nbytes: int, here: str, _there: str, seed: int) -> float:
    future = _array_at(client, nbytes, here, seed)
    began = time.perf_counter()
    array = future.result()
    taken_s = time.perf_counter() - began
    check(checksum(array), checksum(make_array(nbytes, seed)))
    return taken_s


def startup(cluster: Cluster, scale: float) -> Figures:
    """64 workers by one command on this host, then what they cost while they have nothing to do."""
    count = int(64 * scale)
    began = time.perf_counter()
    command = cluster.start_workers(count)
    cluster.await_workers(count)
    registered_s = time.perf_counter() - began
    check(len(cluster.client.run(os.getpid)), count)
    ran_s = time.perf_counter() - began
    time.sleep(IDLE_S / 2)  # what start-up left to do is not idleness
    before_s, began = _cpu_s(command.pid), time.perf_counter()
    time.sleep(IDLE_S)
    cpu = (_cpu_s(command.pid) - before_s) / (time.perf_counter() - began)
    return {
        "registered s": registered_s,
        "all have run s": ran_s,
        "idle CPU % of a core": cpu * 100,
        "PSS MB per worker": _pss_bytes(command.pid) / count / 1e6,
    }


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _cpu_s(pid: int) -> float:
    return sum(sum(member.cpu_times()[:2]) for member in _family(pid))


def _pss_bytes(pid: int) -> int:
    return sum(member.memory_full_info().pss for member in _family(pid))


CASES: dict[str, Callable[[Cluster, float], Figures]] = {
    "throughput": throughput,
    "latency": latency,
    "tree": tree,
    "chain": chain,
    "all_to_all": all_to_all,
    "transfer": transfer,
    "startup": startup,
}
