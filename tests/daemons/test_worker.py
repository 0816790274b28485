"""A worker at work, over real sockets, with a scheduler that says what the test wants."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time

import pytest

from distributed.messages import (
    AddFunction,
    CancelTask,
    DataAdded,
    DataDropped,
    DropData,
    FetchData,
    FetchFailed,
    Goodbye,
    Heartbeat,
    Reply,
    Request,
    RunBlock,
    RunTask,
    SetHeartbeat,
    StealTask,
    TaskErred,
    TaskFinished,
    TaskMissingData,
    TaskReturned,
)
from distributed.wire.failure import load_error
from distributed.wire.payload import dumps, dumps_call, loads
from distributed.worker import get_worker
from tests.aio import run_async, until
from tests.daemons.workerbed import Key, ask, bed, get

GATES = {}


def wait_at(gate):
    assert GATES[gate].wait(10)
    return gate


@pytest.fixture
def gate(request):
    """A gate that a task in a worker of this process waits at, opened at the end."""
    GATES[request.node.name] = threading.Event()
    yield request.node.name
    GATES.pop(request.node.name).set()


def test_it_registers_runs_and_answers():
    async def test():
        async with bed({"ncores": 3, "name": "w1", "resources": {"GPU": 2.0}}) as (stub, worker):
            assert (worker.status, worker.name, worker.center) == ("running", "w1", stub.address)
            assert await worker.registered() == stub.address
            (told,) = stub.registered
            assert (told["address"], told["nthreads"], told["pid"]) == (
                worker.address,
                3,
                os.getpid(),
            )
            assert told["resources"] == {"GPU": 2.0}
            assert {"python", "dlaunch", "msgspec", "cloudpickle"} <= set(told["versions"])
            stub.run(worker, pow, 2, 10)
            message = await stub.wait_for(worker, TaskFinished)
            assert loads(message.result) == 1024
            assert dict(worker.data) == {"k": 1024}

    run_async(test())


@pytest.mark.expect_log("trying to join it again")
def test_messages_right_behind_the_registration_are_heard():
    async def test():
        async with bed() as (stub, worker):
            stub.greeting = [FetchData({"x": []})]
            stub.drop_worker(worker)
            assert (await stub.wait_for(worker, FetchFailed)).missing == {"x": []}

    run_async(test())


def test_a_large_result_stays_and_is_served_and_dropped():
    async def test():
        async with bed() as (stub, worker):
            stub.run(worker, bytes, 200_000)
            message = await stub.wait_for(worker, TaskFinished)
            assert message.result is None
            assert message.nbytes >= 200_000
            assert await get(stub, worker, "k") == bytes(200_000)
            assert await ask(stub, worker, "get_data", keys=["unknown"]) == {}
            stub.tell(worker, DropData(["k"]))
            await until(lambda: not worker.data)

    run_async(test())


def test_a_chain_needs_no_scheduler_between_its_links():
    async def test():
        async with bed() as (stub, worker):
            stub.run(worker, abs, -1, key="k0")
            for n in range(1, 50):
                stub.run(worker, lambda x: x + 1, Key(f"k{n - 1}"), key=f"k{n}")
            message = await stub.wait_for(worker, TaskFinished, "k49")
            assert loads(message.result) == 50

    run_async(test())


def test_dependencies_come_from_a_peer_and_are_reported():
    np = pytest.importorskip("numpy")

    async def test():
        async with bed({}, {}) as (stub, one, two):
            stub.run(one, np.arange, 100_000, key="x")
            await stub.wait_for(one, TaskFinished, "x")
            stub.run(two, lambda x: int(x.sum()), Key("x"), who_has={"x": [one.address]})
            message = await stub.wait_for(two, TaskFinished, "k")
            assert loads(message.result) == sum(range(100_000))
            assert (await stub.wait_for(two, DataAdded)).data["x"] >= 800_000
            # The copy is one to serve, too.
            assert (await get(stub, two, "x")).shape == (100_000,)

    run_async(test())


@pytest.mark.expect_log("could not fetch 1 keys")
def test_a_dependency_nobody_has_is_told_with_the_addresses():
    async def test():
        async with bed({}, {}) as (stub, one, two):
            await one.close()
            stub.run(two, abs, Key("x"), who_has={"x": [one.address]})
            message = await stub.wait_for(two, TaskMissingData)
            assert message.missing == {"x": [one.address]}

    run_async(test())


def test_copies_are_fetched_on_request():
    async def test():
        async with bed({}, {}) as (stub, one, two):
            await ask(stub, one, "update_data", data={"x": dumps([1]), "y": dumps(bytes(10**6))})
            stub.tell(two, FetchData({"x": [one.address], "y": [one.address]}))
            assert set((await stub.wait_for(two, DataAdded)).data) == {"x", "y"}
            assert two.data["x"] == [1]

    run_async(test())


def test_a_busy_thread_does_not_hold_up_the_loop_and_queued_tasks_can_be_stolen(gate):
    async def test():
        async with bed() as (stub, worker):
            busy = stub.run(worker, wait_at, gate, key="busy")
            queued = stub.run(worker, abs, -1, key="queued")
            await until(lambda: worker.executor.executing == 1 and worker.executor.queued == 1)
            assert await ask(stub, worker, "ping") == "pong"
            stub.tell(worker, StealTask("queued", queued.run), StealTask("busy", busy.run))
            await stub.wait_for(worker, TaskReturned, "queued")
            GATES[gate].set()
            await stub.wait_for(worker, TaskFinished, "busy")
            assert not stub.heard(worker, TaskReturned, "busy")

    run_async(test())


def tell_many(stub, worker, number, payload, last):
    """Tell a worker to run so many tasks of a payload, and another one after them."""
    stub.tell(
        worker,
        RunBlock("many", 1, [f"k{i}" for i in range(number)], [payload] * number, [0] * number),
        RunTask("last", number + 1, "last", last, 1),
    )


def test_results_of_short_tasks_go_together(gate):
    async def test():
        async with bed() as (stub, worker):
            stub.tell(worker, AddFunction("many", dumps(time.sleep)), AddFunction("last", dumps(abs)))
            short, nothing = dumps_call((0.0002,), {})[0], dumps_call((-1,), {})[0]
            tell_many(stub, worker, 400, short, nothing)
            await stub.wait_for(worker, TaskFinished, "last", 20.0)
            # 0.1 s of tasks: with a message for each the scheduler would have as much to do as the worker.
            assert len(stub.heard(worker, TaskFinished)) == 401
            assert len(stub.said[worker.address]) < 200

    run_async(test(), 40.0)


def test_a_result_does_not_wait_for_the_end_of_a_long_task_behind_it(gate):
    async def test():
        async with bed() as (stub, worker):
            stub.tell(worker, AddFunction("many", dumps(time.sleep)), AddFunction("last", dumps(wait_at)))
            tell_many(stub, worker, 50, dumps_call((0.0002,), {})[0], dumps_call((gate,), {})[0])
            await until(lambda: len(stub.heard(worker, TaskFinished)) == 50)
            assert worker.executor.executing == 1

    run_async(test())


def test_a_cancelled_run_leaves_nothing(gate):
    async def test():
        async with bed() as (stub, worker):
            task = stub.run(worker, wait_at, gate)
            await until(lambda: worker.executor.executing == 1)
            stub.tell(worker, CancelTask("k", task.run))
            await until(lambda: not worker.active)
            GATES[gate].set()
            stub.run(worker, abs, -1, key="next")
            await stub.wait_for(worker, TaskFinished, "next")
            assert set(worker.data) == {"next"}
            assert not stub.heard(worker, TaskFinished, "k")

    run_async(test())


@pytest.mark.expect_log("trying to join it again")
def test_what_was_running_when_the_scheduler_was_lost_is_not_told_to_it_later(gate):
    async def test():
        async with bed() as (stub, worker):
            stub.run(worker, wait_at, gate, key="busy")
            stub.run(worker, abs, -1, key="queued")
            await until(lambda: worker.executor.executing == 1 and worker.executor.queued == 1)
            stub.drop_worker(worker)
            await until(lambda: len(stub.registered) == 2)
            GATES[gate].set()
            stub.run(worker, abs, -1, key="next")
            await stub.wait_for(worker, TaskFinished, "next")
            assert [m.key for m in stub.heard(worker, TaskFinished)] == ["next"]
            assert set(worker.data) == {"next"}

    run_async(test())


def test_errors_of_tasks_are_told_and_the_worker_lives_on():
    async def test():
        async with bed() as (stub, worker):
            stub.run(worker, lambda: 1 / 0, key="bad")
            message = await stub.wait_for(worker, TaskErred, "bad")
            assert isinstance(load_error(message.error), ZeroDivisionError)
            stub.run(worker, sys.exit, 3, key="exits")
            message = await stub.wait_for(worker, TaskErred, "exits")
            assert message.error.type_name == "SystemExit"
            stub.tell(worker, RunTask("garbage", 99, "f1", b"no pickle"))
            message = await stub.wait_for(worker, TaskErred, "garbage")
            assert "the arguments cannot be unpickled" in message.error.message
            stub.run(worker, abs, -1, key="good")
            await stub.wait_for(worker, TaskFinished, "good")

    run_async(test())


def test_data_operations():
    async def test():
        async with bed() as (stub, worker):
            reply = await ask(stub, worker, "update_data", data={"x": dumps(1), "y": dumps("b")})
            assert set(reply["nbytes"]) == {"x", "y"}
            assert sorted(await ask(stub, worker, "keys")) == ["x", "y"]
            assert worker.data["y"] == "b"
            await ask(stub, worker, "delete_data", keys=["x", "z"])
            assert (await stub.wait_for(worker, DataDropped)).keys == ["x"]
            assert (await ask(stub, worker, "identity"))["keys"] == 1
            with pytest.raises(TypeError, match="not a payload"):
                await ask(stub, worker, "update_data", data={"x": 5})

    run_async(test())


def note_that_it_ran():
    GATES["ran"] = True


def payload(function, *args, **kwargs):
    return dumps((function, args, kwargs))


def test_functions_run_beside_the_tasks(gate):
    async def test():
        async with bed() as (stub, worker):
            stub.run(worker, wait_at, gate)
            await until(lambda: worker.executor.executing == 1)

            async def name():
                return get_worker().name

            for function, args, expected in [(pow, (2, 3), 8), (name, (), worker.name)]:
                found = await ask(stub, worker, "run", function=payload(function, *args))
                assert loads(found) == expected
            with pytest.raises(ZeroDivisionError):
                await ask(stub, worker, "run", function=payload(lambda: 1 / 0))
            with pytest.raises(RuntimeError, match="SystemExit: 4"):
                await ask(stub, worker, "run", function=payload(sys.exit, 4))

    run_async(test())


@pytest.mark.expect_log("a function sent by run")
def test_functions_nobody_waits_for():
    async def test():
        async with bed() as (stub, worker):
            for function in (payload(note_that_it_ran), payload(lambda: 1 / 0)):
                assert await ask(stub, worker, "run", function=function, wait=False) is None
            await until(lambda: GATES.pop("ran", None))

    run_async(test())


def test_an_uploaded_module_replaces_the_one_before():
    async def test():
        async with bed() as (stub, worker):
            args, _ = dumps_call((), {})
            for version in (1, 2):
                source = f"def version():\n    return {version}\n".encode()
                reply = await ask(stub, worker, "upload_file", filename="uploaded_here.py", data=source)
                assert reply["loaded"] == ["uploaded_here"]
                if version == 1:
                    function = b"\x80\x05cuploaded_here\nversion\n."
                    worker.runner.learn({"f": function})
                stub.tell(worker, RunTask(f"v{version}", version, "f", args))
                message = await stub.wait_for(worker, TaskFinished, f"v{version}")
                assert loads(message.result) == version
            folder = worker.local_dir
            assert os.path.isdir(folder)
        assert not os.path.exists(folder)

    run_async(test())


def test_heartbeats_tell_memory_and_threads():
    async def test():
        async with bed(heartbeat_s=0.02) as (stub, worker):
            beat = await stub.wait_for(worker, Heartbeat)
            assert beat.memory > 10**6
            assert (beat.executing, beat.paused) == (0, False)
            # With nothing to do it sleeps until there is something.
            await until(lambda: worker._heartbeats.asleep)
            heard = len(stub.heard(worker, Heartbeat))
            stub.run(worker, time.sleep, 1.0)
            await until(lambda: len(stub.heard(worker, Heartbeat)) > heard + 3)
            assert any(beat.executing == 1 for beat in stub.heard(worker, Heartbeat))
            await stub.wait_for(worker, TaskFinished)
            await until(lambda: worker._heartbeats.asleep)

    run_async(test())


def test_who_waits_behind_a_task_that_does_not_end_is_told_of_long_before_the_next_heartbeat(gate):
    async def test():
        async with bed(heartbeat_s=1000.0) as (stub, worker):
            for key in ("long", "behind"):
                stub.run(worker, wait_at, gate, key=key)
            beat = await stub.wait_for(worker, Heartbeat)
            assert beat.executing == 1
            GATES[gate].set()
            await stub.wait_for(worker, TaskFinished, "behind")

    run_async(test())


@pytest.mark.expect_log("close to the limit")
def test_the_scheduler_slows_heartbeats_down_and_not_the_measuring_of_memory():
    async def test():
        async with bed({"memory_limit": 10**15}, heartbeat_s=0.02) as (stub, worker):
            await stub.wait_for(worker, Heartbeat)
            stub.tell(worker, SetHeartbeat(1000.0))
            await until(lambda: worker._heartbeats.period_s == 1000.0)
            worker._heartbeats.measure_s = 0.02  # as if it were 10 s
            worker._heartbeats._is_quiet = lambda: False
            worker._heartbeats._again(0.0)
            measured = []
            handle = worker.handle
            worker.handle = lambda event: (measured.append(event), handle(event))
            heard = len(stub.heard(worker, Heartbeat))
            await until(lambda: len(measured) > 5)
            assert len(stub.heard(worker, Heartbeat)) == heard
            worker.machine.memory_limit = 10**6
            await until(lambda: stub.heard(worker, Heartbeat)[-1].paused)  # that it tells at once

    run_async(test())


@pytest.mark.expect_log("close to the limit")
def test_short_of_memory_it_starts_nothing_until_there_is_more():
    async def test():
        async with bed({"memory_limit": 10**6}, heartbeat_s=0.02) as (stub, worker):
            await until(lambda: any(beat.paused for beat in stub.heard(worker, Heartbeat)))
            stub.run(worker, abs, -1)
            await until(lambda: worker.active)
            assert worker.executor.executing == 0
            worker.machine.memory_limit = 10**15
            await stub.wait_for(worker, TaskFinished)
            assert not (await until(lambda: stub.heard(worker, Heartbeat)))[-1].paused

    run_async(test())


@pytest.mark.expect_log("close to the limit")
def test_an_idle_worker_that_is_short_of_memory_stays_awake_until_there_is_more():
    async def test():
        async with bed({"memory_limit": 10**6}, heartbeat_s=0.02) as (stub, worker):
            await until(lambda: len([beat for beat in stub.heard(worker, Heartbeat) if beat.paused]) > 4)
            worker.machine.memory_limit = 10**15
            await until(lambda: not worker.machine.paused)
            await until(lambda: worker._heartbeats.asleep)

    run_async(test())


def test_the_scheduler_may_ask_on_its_own_stream():
    async def test():
        async with bed() as (stub, worker):
            stub.tell(worker, Request("ping", {}, 7))
            reply = await stub.wait_for(worker, Reply)
            assert (reply.id, reply.result) == (7, "pong")

    run_async(test())


def test_terminated_it_returns_what_it_has_not_started_and_says_goodbye(gate):
    async def test():
        async with bed() as (stub, worker):
            stub.run(worker, wait_at, gate, key="busy")
            stub.run(worker, abs, -1, key="queued")
            await until(lambda: worker.executor.executing == 1 and worker.executor.queued == 1)
            folder = worker.local_dir
            start_s = time.monotonic()
            assert await ask(stub, worker, "terminate") == "OK"
            await worker.finished()
            assert time.monotonic() - start_s < 3
            said = stub.said[worker.address]
            assert [type(message) for message in said[-2:]] == [TaskReturned, Goodbye]
            assert said[-1].reason == "terminated"
            assert (worker.status, worker.exit_code) == ("closed", 0)
            assert not os.path.exists(folder)

    run_async(test())


def test_sent_away_by_the_scheduler_it_goes():
    async def test():
        async with bed() as (stub, worker):
            stub.tell(worker, Goodbye("scaled down"))
            await asyncio.wait_for(worker.finished(), 10)
            assert (worker.exit_code, worker.close_reason) == (0, "scaled down")

    run_async(test())
