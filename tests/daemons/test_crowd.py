"""A thousand workers that arrive at once, and the benchmarks that run without any package of the index."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time

import pytest

from tests.aio import run_async, until_sync
from tests.daemons.clusterbed import ProcessCluster
from tests.daemons.nannybed import ROOT
from tests.daemons.schedulerbed import bed

sys.path.insert(0, str(ROOT / "benchmarks" / "programs"))
from bench_measure import cpu_s

PROGRAMS = ROOT / "benchmarks" / "programs"
THOUSAND = 1000


@pytest.fixture
def cluster(tmp_path):
    made = ProcessCluster(tmp_path)
    yield made
    made.close()


def program(name, *arguments, **options):
    """Start one of the benchmarks' programs."""
    argv = [sys.executable, str(PROGRAMS / name), *map(str, arguments)]
    return subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, **options
    )


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < THOUSAND + 100, reason="ulimit -n is too low")
def test_a_thousand_workers_that_arrive_together_are_all_registered_and_all_work(cluster):
    with program("bench_simulated.py", cluster.file, "workers", THOUSAND, stdin=subprocess.PIPE) as crowd:
        try:
            word, seconds = crowd.stdout.readline().split()
            # All of them dial at the same moment, and none had to dial again; a second where nobody else is at work.
            assert (word, float(seconds) < 15) == ("ready", True)
            with cluster.client() as client:
                assert len(client.ncores()) == THOUSAND
                # One for each: who ends at once may get a second one before another has had its first.
                futures = [client.submit(abs, 1, workers=[f"simulated-{n}"], pure=False) for n in range(THOUSAND)]
                assert client.gather(futures) == [None] * THOUSAND
                assert len(set().union(*client.who_has(futures).values())) == THOUSAND
            warnings = [line for line in cluster.log("scheduler").splitlines() if "WARNING" in line]
            # With PYTHONASYNCIODEBUG=1 asyncio tells of turns that take 0.1 s; a thousand at once may.
            assert [line for line in warnings if " asyncio " not in line] == []
        finally:
            crowd.kill()


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2 * THOUSAND + 100, reason="ulimit -n is too low")
def test_two_thousand_workers_that_have_nothing_to_do_cost_next_to_nothing(cluster):
    with program("bench_simulated.py", cluster.file, "workers", 2 * THOUSAND, stdin=subprocess.PIPE) as crowd:
        try:
            assert crowd.stdout.readline().startswith("ready")
            # Each says soon what it is like, then sleeps.  On a busy machine some seconds are dear, not all of them.
            until_sync(lambda: share_of_a_second(cluster.scheduler.pid) < 0.06, 40, "a second that costs little")
        finally:
            crowd.kill()


def share_of_a_second(pid) -> float:
    """What a process takes of a core, watched for a second."""
    before_s, began_s = cpu_s([pid]), time.perf_counter()
    time.sleep(1)
    return (cpu_s([pid]) - before_s) / (time.perf_counter() - began_s)


@pytest.mark.expect_log("worker a at .* left")
def test_who_registers_is_not_compared_with_all_others():
    class Unsearched(dict):
        def items(self):
            raise AssertionError("a search through all workers")

        values = __iter__ = items

    async def main():
        async with bed() as b:
            b.scheduler.workers = Unsearched()
            first = await b.puppet("a")
            await b.puppet("b")
            await first.close()
            await b.puppet("c")
            b.scheduler.workers = dict.copy(b.scheduler.workers)

    run_async(main())


@pytest.mark.parametrize(
    ("subject", "cases"),
    [
        ("relay", ["throughput", "latency"]),
        ("relay-blocks", ["throughput", "latency"]),
        ("floors", ["latency", "transfer", "startup"]),
        ("pool", ["throughput", "short", "chunks", "latency", "growth"]),
        ("dlaunch", ["throughput", "short", "chunks", "tree", "chain", "all_to_all", "held", "growth", "simulated"]),
    ],
)
def test_every_case_gives_figures(subject, cases):
    with program("bench_round.py", subject, 0.02, 2, *cases) as process:
        lines = [json.loads(line) for line in process.stdout]
    assert [line for line in lines if "failure" in line] == []
    assert sorted(line["case"] for line in lines if "case" in line) == sorted(cases)
    assert all(value >= 0 for line in lines for value in line.get("figures", {}).values())
