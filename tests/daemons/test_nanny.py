"""The Nanny in a plain Python session: real worker processes, a scheduler that only takes note."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading

import pytest
from tornado.ioloop import IOLoop

from distributed.clusterfile import ClusterFile
from distributed.errors import CommError, ConfigError
from distributed.nanny import ForkServer, Nanny
from distributed.nanny.machine import RestartPolicy
from distributed.pool import ConnectionPool
from tests.aio import run_async, until, until_sync
from tests.daemons.nannybed import NotingScheduler, gone, is_alive

SECRET = b"n" * 32


@contextlib.asynccontextmanager
async def scheduler():
    stub = NotingScheduler(secret=SECRET)
    await stub.start(0)
    try:
        yield stub
    finally:
        await stub.close()


@contextlib.asynccontextmanager
async def nanny_of(stub, **settings):
    settings.setdefault("ncores", 1)
    nanny = Nanny("127.0.0.1", stub.port, ip="127.0.0.1", secret=SECRET, **settings)
    await nanny.start(0)
    try:
        yield nanny
    finally:
        await nanny.close()


async def request(address, op, **kwargs):
    pool = ConnectionPool(SECRET)
    try:
        return await pool.request_with(address, op, kwargs, 15.0)
    finally:
        await pool.close()


def test_it_takes_the_place_of_a_worker():
    async def main():
        async with scheduler() as stub, nanny_of(stub, name="w", ncores=2) as nanny:
            assert list(stub.workers) == [nanny.worker_address]
            known = stub.workers[nanny.worker_address]
            assert known["name"] == "w"
            assert known["nthreads"] == 2
            assert known["nanny"] == nanny.address
            assert known["pid"] == nanny.process.pid != os.getpid()
            assert nanny.worker_port == int(nanny.worker_address.rpartition(":")[2])
            assert os.stat(nanny.worker_dir).st_mode & 0o777 == 0o700
            address = nanny.worker_address
            folder, pid = nanny.worker_dir, nanny.process.pid
            await nanny.close()
            await until(lambda: stub.goodbyes == [address])
        assert nanny.exit_code == 0
        assert gone([pid])
        assert not os.path.exists(folder)

    run_async(main())


def test_the_founding_way_with_a_loop_in_a_thread():
    async def open_scheduler():
        stub = NotingScheduler(secret=SECRET)
        await stub.start(0)
        return stub

    loop = IOLoop(make_current=False)
    thread = threading.Thread(target=loop.start)
    thread.start()

    def on_loop(coroutine):
        asyncio_loop = loop.asyncio_loop
        return asyncio.run_coroutine_threadsafe(coroutine, asyncio_loop).result(15)

    try:
        stub = on_loop(open_scheduler())
        nanny = Nanny("127.0.0.1", stub.port, ip="127.0.0.1", loop=loop, secret=SECRET)
        nanny.start(0).result(15)
        pids = stub.pids()
        assert pids == [nanny.process.pid]
        on_loop(nanny.close())
        on_loop(stub.close())
        assert gone(pids)
    finally:
        loop.add_callback(loop.stop)
        thread.join(10)
        loop.close()


@pytest.mark.expect_log("died and is started again: killed by signal 9")
def test_a_killed_worker_is_reported_at_once_and_comes_back():
    async def main():
        async with scheduler() as stub, nanny_of(stub) as nanny:
            old, folder = nanny.worker_address, nanny.worker_dir
            os.kill(nanny.process.pid, signal.SIGKILL)
            await until(lambda: stub.exits, timeout_s=2.0)
            assert stub.exits == [(old, "killed by signal 9 (SIGKILL)", False)]
            await until(lambda: stub.workers and old not in stub.workers)
            await until(lambda: nanny.machine.state == "running")
            assert nanny.machine.restarts == 1
            assert not os.path.exists(folder)
            identity = await request(nanny.address, "identity")
            assert identity["last_exit"] == "killed by signal 9 (SIGKILL)"
            assert identity["worker"] == nanny.worker_address != old

    run_async(main())


@pytest.mark.expect_log("the fork server, pid .* has ended", "died and is started again")
def test_a_killed_fork_server_is_replaced():
    async def main():
        server = ForkServer()
        async with scheduler() as stub, nanny_of(stub, fork_server=server) as nanny:
            old, pid = server.pid, nanny.process.pid
            os.kill(old, signal.SIGKILL)
            await until(lambda: stub.registrations == 2)
            await until(lambda: nanny.machine.state == "running")
            assert not is_alive(pid)
            assert server.pid != old
        server.close()

    run_async(main())


def test_kill_instantiate_and_restart():
    async def main():
        async with scheduler() as stub, nanny_of(stub) as nanny:
            first = nanny.process.pid
            with pytest.raises(ValueError, match="is alive"):
                await request(nanny.address, "instantiate")
            assert await request(nanny.address, "kill", timeout_s=5.0) == "OK"
            assert gone([first])
            await until(lambda: not stub.workers)
            assert nanny.status == "running"
            assert await request(nanny.address, "instantiate") == "OK"
            second = nanny.process.pid
            assert stub.pids() == [second]
            assert await request(nanny.address, "restart", timeout_s=10.0) == "OK"
            assert gone([second])
            await until(lambda: stub.pids() == [nanny.process.pid])
            assert nanny.machine.restarts == 0

    run_async(main())


def test_a_worker_that_does_not_hear_is_killed_after_the_grace(expect_log):
    expect_log("did not end in time")

    async def main():
        async with scheduler() as stub, nanny_of(stub, stop_grace_s=0.3) as nanny:
            pid = nanny.process.pid
            os.kill(pid, signal.SIGSTOP)
            await nanny.close()
            assert gone([pid])
            assert nanny.exit_code == 0
            assert [expected for *_, expected in stub.exits] == [True]

    run_async(main())


def test_terminate_ends_both():
    async def main():
        async with scheduler() as stub, nanny_of(stub) as nanny:
            pid = nanny.process.pid
            assert await request(nanny.address, "terminate") == "OK"
            await asyncio.wait_for(nanny.finished(), 10)
            assert gone([pid])
            assert nanny.exit_code == 0

    run_async(main())


def test_a_worker_told_to_go_takes_the_nanny_with_it():
    async def main():
        async with scheduler() as stub, nanny_of(stub) as nanny:
            await request(nanny.worker_address, "terminate")
            await asyncio.wait_for(nanny.finished(), 10)
            assert nanny.exit_code == 0
            assert stub.exits == []  # it has said goodbye itself

    run_async(main())


def test_a_scheduler_that_goes_away_for_good_ends_worker_and_nanny_with_code_3():
    async def main():
        async with scheduler() as stub, nanny_of(stub, death_timeout_s=0.5) as nanny:
            pid = nanny.process.pid
            await stub.close()
            await asyncio.wait_for(nanny.finished(), 15)
            assert nanny.exit_code == 3
            assert gone([pid])

    run_async(main())


@pytest.mark.expect_log("Nanny could not start")
def test_no_scheduler_at_all_is_code_3():
    async def main():
        async with scheduler() as stub:
            port = stub.port
        nanny = Nanny("127.0.0.1", port, ip="127.0.0.1", secret=SECRET, death_timeout_s=0.5)
        with pytest.raises(CommError, match="no scheduler at"):
            await nanny.start(0)
        await asyncio.wait_for(nanny.finished(), 10)
        assert nanny.exit_code == 3

    run_async(main())


@pytest.mark.expect_log("Nanny could not start", "refused")
def test_a_wrong_secret_is_said_and_not_tried_again():
    async def main():
        async with scheduler() as stub:
            nanny = Nanny("127.0.0.1", stub.port, ip="127.0.0.1", secret=b"x" * 32)
            with pytest.raises(CommError, match="belongs to another cluster"):
                await nanny.start(0)
            await asyncio.wait_for(nanny.finished(), 10)
            assert nanny.exit_code == 1

    run_async(main())


@pytest.mark.expect_log("Nanny could not start", "died and is started again")
def test_a_crash_loop_ends_with_its_reason():
    async def main():
        policy = RestartPolicy(first_delay_s=0.01, start_failures=3)
        async with scheduler() as stub:
            nanny = Nanny(
                "127.0.0.1",
                stub.port,
                ip="127.0.0.1",
                secret=SECRET,
                policy=policy,
                # logs.configure refuses it, in each worker process: a stand-in for any early crash
                log_level="NOISY",
            )
            with pytest.raises(CommError, match="exit code 70"):
                await nanny.start(0)
            await asyncio.wait_for(nanny.finished(), 10)
            assert nanny.exit_code == 1
            assert "3 workers in a row died before they had registered" in nanny.close_reason

    run_async(main())


@pytest.mark.expect_log("killing .* used", "died and is started again")
def test_a_worker_over_its_memory_limit_is_killed_with_a_reason():
    async def main():
        # Any Python process needs more than this.
        async with scheduler() as stub, nanny_of(stub, memory_limit=10**6, name="fat") as nanny:
            await until(lambda: stub.exits, timeout_s=5.0)
            (_, reason, expected), *_ = stub.exits
            assert "of its 1.00 MB limit" in reason
            assert expected is False
            assert nanny.machine.state != "given-up"

    run_async(main())


def test_several_nannies_share_a_fork_server():
    async def main():
        server = ForkServer()
        async with scheduler() as stub:
            nannies = [
                Nanny("127.0.0.1", stub.port, ip="127.0.0.1", secret=SECRET, fork_server=server) for _ in range(4)
            ]
            await asyncio.gather(*(nanny.start(0) for nanny in nannies))
            assert sorted(stub.pids()) == sorted(nanny.process.pid for nanny in nannies)
            await asyncio.gather(*(nanny.close() for nanny in nannies))
            pid = server.pid
            assert is_alive(pid)
            server.close()
            until_sync(lambda: gone([pid]))

    run_async(main())


def test_a_python_that_cannot_be_run_is_an_error(monkeypatch, expect_log):
    expect_log("Nanny could not start")
    monkeypatch.setattr("sys.executable", "/nowhere/python")

    async def main():
        async with scheduler() as stub:
            nanny = Nanny("127.0.0.1", stub.port, ip="127.0.0.1", secret=SECRET)
            with pytest.raises((CommError, ConfigError), match="/nowhere/python"):
                await nanny.start(0)
            await asyncio.wait_for(nanny.finished(), 10)
            assert nanny.exit_code == 1

    run_async(main())


def test_services_run_beside_the_nanny():
    calls = []

    class Service:
        def __init__(self, nanny):
            self.nanny = nanny

        def listen(self, port):
            calls.append(("listen", port))

        def stop(self):
            calls.append(("stop",))

    async def main():
        async with scheduler() as stub, nanny_of(stub, services={("http", 1234): Service}) as nanny:
            assert nanny.services["http"].nanny is nanny
        assert calls == [("listen", 1234), ("stop",)]

    run_async(main())


def test_unknown_settings_are_refused_and_none_means_the_default():
    with pytest.raises(TypeError, match="colour"):
        Nanny("127.0.0.1", 1, secret=SECRET, colour="red")
    nanny = Nanny("127.0.0.1", 1, secret=SECRET, memory_limit=None, resources=None)
    assert nanny._settings.memory_limit == 0
    assert nanny._settings.log_level == "WARNING"
    nanny = Nanny("127.0.0.1", 1, secret=SECRET, log_level=None, death_timeout_s=None)
    assert nanny._settings.log_level is None
    assert nanny._settings.death_timeout_s is None


def test_a_cluster_file_gives_the_secret(tmp_path):
    path = tmp_path / "cluster.json"
    ClusterFile.new("c", ["127.0.0.1:1"], SECRET).write(path)
    nanny = Nanny(cluster_file=path)
    assert nanny._settings.secret == SECRET
    assert nanny._settings.cluster_file == str(path)
