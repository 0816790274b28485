"""How a worker finds its scheduler, waits for it, loses it and gives up."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time

import pytest
from tornado.ioloop import IOLoop

from distributed import rpc
from distributed.clusterfile import ClusterFile
from distributed.errors import AuthenticationError, CommError, ConfigError
from distributed.messages import SubmitTasks, TaskFinished
from distributed.wire.payload import dumps
from distributed.worker import Worker
from distributed.worker.daemon import EXIT_DEATH_TIMEOUT
from tests.aio import run_async, until, until_sync
from tests.daemons.workerbed import SECRET, StubScheduler, ask, bed, make_worker


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_it_waits_for_its_scheduler_and_says_so_once(caplog):
    caplog.set_level(logging.INFO)

    async def test():
        port = free_port()
        worker = make_worker(port)
        started = worker.start(0)
        assert worker.address.startswith("127.0.0.1:")
        await until(lambda: "Waiting to connect to" in caplog.text)
        stub = StubScheduler()
        await asyncio.sleep(0.3)  # several tries in vain
        await stub.start(port)
        await started
        assert worker.status == "running"
        assert caplog.text.count("Waiting to connect to") == 1
        await worker.close()
        await stub.close()

    run_async(test())


@pytest.mark.expect_log("no scheduler at 127.0.0.1:.* for .*, giving up: cannot connect")
def test_without_a_scheduler_it_gives_up_after_the_death_timeout():
    async def test():
        worker = make_worker(free_port(), death_timeout_s=0.3)
        started = worker.start(0)
        with pytest.raises(CommError, match="before it could register: no scheduler at"):
            await worker.registered()
        with pytest.raises(CommError, match="giving up"):
            await started
        await worker.finished()
        assert worker.exit_code == EXIT_DEATH_TIMEOUT

    run_async(test())


@pytest.mark.expect_log("trying to join it again")
@pytest.mark.expect_log("giving up")
def test_a_scheduler_gone_for_too_long_ends_it():
    async def test():
        async with bed({"death_timeout_s": 0.3}) as (stub, worker):
            await stub.close()
            await asyncio.wait_for(worker.finished(), 10)
            assert worker.exit_code == EXIT_DEATH_TIMEOUT
            assert "no scheduler at" in worker.close_reason

    run_async(test())


@pytest.mark.expect_log("trying to join it again")
def test_the_same_scheduler_gets_back_what_it_holds():
    async def test():
        async with bed() as (stub, worker):
            stub.run(worker, abs, -1)
            size = (await stub.wait_for(worker, TaskFinished)).nbytes
            await ask(stub, worker, "update_data", data={"x": dumps(1)})
            stub.drop_worker(worker)
            await until(lambda: len(stub.registered) == 2)
            first, second = stub.registered
            assert first["data"] == {}
            assert second["data"]["k"] == size
            assert set(second["data"]) == {"k", "x"}
            stub.run(worker, abs, -2, key="next")
            await stub.wait_for(worker, TaskFinished, "next")

    run_async(test())


@pytest.mark.expect_log("trying to join it again")
def test_another_scheduler_at_the_same_place_gets_an_empty_worker():
    async def test():
        async with bed() as (stub, worker):
            port = stub.port
            stub.run(worker, abs, -1)
            await stub.wait_for(worker, TaskFinished)
            await stub.close()
            other = StubScheduler()
            await other.start(port)
            await until(lambda: other.registered)
            assert other.registered[0]["data"] == {}
            await until(lambda: not worker.data)
            await worker.close()
            await other.close()

    run_async(test())


@pytest.mark.expect_log("could not start: cannot connect to .* another cluster")
@pytest.mark.expect_log("refused")
def test_another_secret_is_refused_at_once():
    async def test():
        async with bed() as (stub, _):
            worker = make_worker(stub, secret=b"x" * 32)
            with pytest.raises(AuthenticationError):
                await worker.start(0)
            await worker.finished()
            assert worker.exit_code == 1
            assert len(stub.registered) == 1

    run_async(test())


@pytest.mark.expect_log("refuses this worker: the name 'w' is taken by the worker at")
def test_a_refusal_is_final_and_gives_the_schedulers_reason():
    async def test():
        async with bed() as (stub, _):
            stub.refusal = "the name 'w' is taken by the worker at 10.0.0.1:1"
            worker = make_worker(stub, name="w")
            with pytest.raises(ConfigError, match="is taken"):
                await worker.start(0)
            await worker.finished()
            assert worker.exit_code == 1

    run_async(test())


@pytest.mark.expect_log("trying to join it again")
def test_a_cluster_file_leads_to_the_schedulers_new_address(tmp_path):
    path = tmp_path / "cluster.json"

    async def test():
        stub = StubScheduler()
        await stub.start(0)
        # The first address answers nothing: the candidates are tried in turn.
        addresses = [f"127.0.0.1:{free_port()}", stub.address]
        ClusterFile.new("c", addresses, SECRET).write(path)
        worker = Worker(cluster_file=path, ip="127.0.0.1", ncores=1, death_timeout_s=10)
        await worker.start(0)
        assert worker.center == stub.address
        await stub.close()
        other = StubScheduler(identity=stub.id)
        await other.start(0)
        ClusterFile.new("c", [other.address], SECRET).write(path)
        await until(lambda: other.registered)
        await worker.close()
        await other.close()

    run_async(test())


def test_a_folder_that_cannot_be_made_is_an_error_at_the_start(tmp_path, expect_log):
    (tmp_path / "file").touch()
    expect_log("cannot make a folder")

    async def test():
        worker = make_worker(free_port(), local_dir=str(tmp_path / "file"))
        with pytest.raises(ConfigError, match="--local-directory"):
            await worker.start(0)
        await worker.finished()
        assert worker.exit_code == 1

    run_async(test())


def test_services_of_the_founding_signature_are_started_and_stopped():
    class Service:
        def __init__(self, worker):
            self.worker, self.port, self.stopped = worker, 0, False

        def listen(self, port):
            self.port = port or 4711

        def stop(self):
            self.stopped = True

    async def test():
        async with bed({"services": {("http", 8042): Service, "other": Service}}) as (_, worker):
            assert worker.service_ports == {"http": 8042, "other": 4711}
        assert all(service.stopped for service in worker.services.values())

    run_async(test())


def test_the_founding_document_s_way_with_the_loop_in_a_thread():
    loop = IOLoop(make_current=False)
    thread = threading.Thread(target=loop.start)
    thread.start()
    made = {}

    def make_stub():
        made["stub"] = StubScheduler()
        made["started"] = made["stub"].start(0)

    loop.add_callback(make_stub)
    until_sync(lambda: "started" in made and made["started"].done())
    worker = Worker("127.0.0.1", made["stub"].port, loop=loop, secret=SECRET, ncores=1)
    worker.start(0)
    until_sync(lambda: worker.status == "running")
    assert rpc(worker.address, secret=SECRET).terminate() == "OK"
    until_sync(lambda: worker.status == "closed")
    asyncio.run_coroutine_threadsafe(made["stub"].close(), loop.asyncio_loop).result(10)
    loop.add_callback(loop.stop)
    thread.join(10)
    assert not thread.is_alive()
    loop.close()


@pytest.mark.expect_log("a scheduler sends no SubmitTasks to a worker; trying to join it again")
def test_a_scheduler_that_talks_nonsense_is_left_and_not_besieged():
    async def test():
        async with bed() as (stub, worker):
            stub.greeting = [SubmitTasks([])]
            stub.tell(worker, SubmitTasks([]))
            await until(lambda: len(stub.registered) == 2)
            start_s = time.monotonic()
            await until(lambda: len(stub.registered) == 4)
            assert time.monotonic() - start_s > 0.3

    run_async(test())
