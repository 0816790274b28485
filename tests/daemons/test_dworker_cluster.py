"""``dworker`` with the real scheduler: reasons, names, restart, retirement."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from distributed.clusterfile import default_secret
from distributed.comm import connect
from distributed.messages import Request, WorkerDisappeared
from distributed.scheduler import Scheduler
from tests.aio import run_async, until
from tests.daemons.nannybed import dworker, end_of, family, gone

LOCAL = ("--host", "127.0.0.1")


@contextlib.asynccontextmanager
async def cluster(*options, workers=2):
    """A real scheduler in this process, and workers by a real ``dworker``."""
    scheduler = Scheduler(host="127.0.0.1")
    await scheduler.start(0)
    try:
        with dworker(scheduler.address, *LOCAL, "--nprocs", str(workers), *options) as process:
            await until(lambda: len(scheduler.workers) == workers)
            yield scheduler, process
    finally:
        await scheduler.close()


def pids_of(scheduler):
    return sorted(worker.info["pid"] for worker in scheduler.workers.values())


async def disappearances(scheduler, found):
    """Collect what a watcher is told about workers that go."""
    connection = await connect(scheduler.address, secret=default_secret())
    connection.send(Request("watch", {}, 1))
    try:
        while True:
            found += [m for m in await connection.read() if isinstance(m, WorkerDisappeared)]
    finally:
        connection.abort()


def test_how_a_worker_died_is_known_at_once_and_its_name_comes_back(expect_log):
    expect_log("killed by signal 9")

    async def main():
        async with cluster("--name", "w") as (scheduler, _):
            found: list[WorkerDisappeared] = []
            watching = asyncio.ensure_future(disappearances(scheduler, found))
            await until(lambda: scheduler._watchers)
            ((address, victim),) = [item for item in scheduler.workers.items() if item[1].info["name"] == "w-1"]
            os.kill(victim.info["pid"], signal.SIGKILL)
            await until(lambda: found, timeout_s=2.0)
            assert found == [WorkerDisappeared(address, "w-1", "killed by signal 9 (SIGKILL)", expected=False)]
            await until(lambda: len(scheduler.workers) == 2)
            names = {worker.info["name"] for worker in scheduler.workers.values()}
            assert names == {"w-0", "w-1"}
            watching.cancel()
            await asyncio.wait([watching])

    run_async(main())


def test_a_name_killed_again_and_again_is_never_given_up(expect_log):
    expect_log("worker w .* left")

    async def main():
        async with cluster("--name", "w", workers=1) as (scheduler, process):
            for _ in range(4):
                (pid,) = pids_of(scheduler)
                os.kill(pid, signal.SIGKILL)
                await until(lambda old=[pid]: pids_of(scheduler) not in ([], old))
            assert process.poll() is None

    run_async(main())


def test_restart_replaces_every_process():
    async def main():
        async with cluster() as (scheduler, process):
            before = pids_of(scheduler)
            result = await scheduler.restart(timeout_s=15.0)
            assert result["restarted"] == 2
            assert len(scheduler.workers) == 2
            assert not set(before) & set(pids_of(scheduler))
            assert gone(before)
            assert process.poll() is None

    run_async(main())


def test_retired_workers_take_their_nannies_and_at_last_the_command_with_them():
    async def main():
        async with cluster() as (scheduler, process):
            below = family(process.pid)
            first, second = scheduler.workers
            await scheduler.retire_workers([first])
            await until(lambda: list(scheduler.workers) == [second])
            assert process.poll() is None
            await scheduler.retire_workers([second])
            assert await end_of(process) == 0
            assert gone(below)

    run_async(main())
