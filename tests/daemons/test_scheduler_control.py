"""The scheduler's control operations, whatever the workers do meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from distributed.errors import NoWorkersError, RequestTimeoutError
from distributed.messages import (
    CancelKeys,
    DataAdded,
    DropData,
    FetchData,
    KeyCancelled,
    KeyInMemory,
    ReleaseKeys,
    RunTask,
)
from distributed.wire.payload import dumps, loads
from tests.aio import run_async, until
from tests.daemons.schedulerbed import PuppetNanny, bed

# -- questions --------------------------------------------------------------------------------------


def test_questions_name_workers_by_address_name_or_host():
    async def main():
        async with bed() as b:
            one, two = await b.puppet("one", host="n1", nthreads=2), await b.puppet("two", host="n2")
            both = {one.address: 2, two.address: 1}
            assert await b.ask("ncores") == both
            assert await b.ask("ncores", workers=["one"]) == {one.address: 2}
            assert await b.ask("ncores", workers=["n2"]) == {two.address: 1}
            assert await b.ask("ncores", workers=["127.0.0.1", "one"]) == both
            assert await b.ask("ncores", workers=[]) == {}
            with pytest.raises(NoWorkersError, match="'three'"):
                await b.ask("ncores", workers=["one", "three"])

    run_async(main())


def test_questions_about_data():
    async def main():
        async with bed() as b:
            puppet, client = await b.puppet("w"), await b.client()
            await b.compute(puppet, client, "k", 41)
            assert await b.ask("who_has") == {"k": [puppet.address]}
            assert await b.ask("who_has", keys=["k", "x"]) == {"k": [puppet.address], "x": []}
            assert await b.ask("has_what") == {puppet.address: ["k"]}
            assert await b.ask("has_what", workers=["w"]) == {puppet.address: ["k"]}
            size = len(dumps(41))
            assert await b.ask("nbytes") == {"k": size}
            assert await b.ask("nbytes", keys=["x"]) == {}
            assert await b.ask("why", key="k") == f"k is in memory at {puppet.address}"
            with pytest.raises(TypeError, match="keys"):
                await b.ask("who_has", keys="k")

    run_async(main())


def test_waiting_for_workers():
    async def main():
        async with bed() as b:
            with pytest.raises(RequestTimeoutError, match=r"waited 0.05 s for 1 workers, 0 are there"):
                await b.ask("wait_for_workers", n=1, timeout_s=0.05)
            waiting = [asyncio.ensure_future(b.ask("wait_for_workers", n=n, timeout_s=5.0)) for n in (1, 2, 2)]
            await until(lambda: len(b.scheduler._waiters) == 3)
            await b.puppet()
            assert await waiting[0] == 1
            assert not waiting[1].done()
            await b.puppet()
            assert await asyncio.gather(*waiting[1:]) == [2, 2]
            assert await b.ask("wait_for_workers", n=1) == 2
            assert not b.scheduler._waiters

    run_async(main())


# -- data relayed -----------------------------------------------------------------------------------


def test_gather_relays_and_finds_another_holder(expect_log):
    expect_log("worker dead at .* left")

    async def main():
        async with bed() as b:
            one, client = await b.puppet("dead"), await b.client()
            await b.compute(one, client, "k", 41)
            two = await b.puppet("two")
            replicating = asyncio.ensure_future(b.ask("replicate", keys=["k"]))
            await until(lambda: two.heard(FetchData))
            two.data["k"] = one.data["k"]
            two.connection.send(DataAdded({"k": 5}))
            await replicating
            assert {*(await b.ask("who_has"))["k"]} == {one.address, two.address}
            one.stop()  # nobody can fetch there any more
            b.scheduler.pool.forget(one.address)
            for _ in range(8):
                assert loads((await b.ask("gather", keys=["k"]))["k"]) == 41
            one.connection.abort()
            await until(lambda: len(b.scheduler.workers) == 1)
            assert loads((await b.ask("gather", keys=["k", "unknown"]))["k"]) == 41

    run_async(main())


def test_what_a_worker_does_not_have_after_all_is_computed_again():
    async def main():
        async with bed() as b:
            puppet, client = await b.puppet("w"), await b.client()
            await b.compute(puppet, client, "k", 41)
            puppet.data.clear()
            assert await b.ask("gather", keys=["k"]) == {}
            await until(lambda: len(puppet.heard(RunTask)) == 2)
            puppet.finish(puppet.heard(RunTask)[1], 42)
            await until(lambda: b.scheduler.machine.state.tasks["k"].holders)
            assert loads((await b.ask("gather", keys=["k"]))["k"]) == 42

    run_async(main())


def test_scatter_relays_by_threads_to_all_or_to_the_named():
    async def main():
        async with bed() as b:
            one, two = await b.puppet("one", nthreads=3), await b.puppet("two")
            client = await b.client()
            data = {f"k{i}": dumps(i) for i in range(8)}
            held = await b.ask("scatter", data=data, client="client-1")
            assert sorted(held) == sorted(data)
            assert (len(one.data), len(two.data)) == (6, 2)
            (message,) = [m for m in await client.read() if getattr(m, "key", "") == "k0"]
            assert isinstance(message, KeyInMemory)
            await b.ask("scatter", data={"everywhere": dumps(1)}, client="client-1", broadcast=True)
            assert "everywhere" in one.data
            assert "everywhere" in two.data
            held = await b.ask("scatter", data={"x": dumps(1)}, client="client-1", workers=["two"])
            assert held == {"x": [two.address]}
            assert await b.ask("who_has", keys=["x"]) == held
            client.send(ReleaseKeys(["x"]))
            await until(lambda: any("x" in m.keys for m in two.heard(DropData)))

    run_async(main())


def test_scatter_goes_round_a_worker_that_cannot_be_reached():
    async def main():
        async with bed() as b:
            dead, alive = await b.puppet("dead"), await b.puppet("alive")
            await b.client()
            dead.stop()
            data = {f"k{i}": dumps(i) for i in range(4)}
            held = await b.ask("scatter", data=data, client="client-1")
            assert held == {key: [alive.address] for key in data}
            held = await b.ask("scatter", data={"x": dumps(1)}, client="client-1", broadcast=True)
            assert held == {"x": [alive.address]}
            with pytest.raises(NoWorkersError):
                await b.ask("scatter", data={"y": dumps(1)}, client="client-1", workers=["dead"])
            with pytest.raises(NoWorkersError):
                await b.ask("scatter", data={"y": dumps(1)}, client="client-1", workers=[])

    run_async(main())


def test_scatter_waits_for_a_worker():
    async def main():
        async with bed() as b:
            await b.client()
            with pytest.raises(NoWorkersError, match=r"after 0\.05 s"):
                await b.ask("scatter", data={"k": dumps(1)}, client="client-1", timeout_s=0.05)
            scattering = asyncio.ensure_future(b.ask("scatter", data={"k": dumps(1)}, client="client-1"))
            await until(lambda: b.scheduler._waiters)
            puppet = await b.puppet()
            assert await scattering == {"k": [puppet.address]}

    run_async(main())


def test_data_scattered_for_a_client_that_left_is_dropped():
    async def main():
        async with bed() as b:
            puppet = await b.puppet()
            await b.ask("scatter", data={"k": dumps(1)}, client="nobody")
            await until(lambda: puppet.heard(DropData))
            assert not b.scheduler.machine.state.tasks

    run_async(main())


# -- workers ----------------------------------------------------------------------------------------


def test_a_broadcast_reaches_all_that_can_be_reached():
    async def main():
        async with bed() as b:
            dead, alive = await b.puppet("dead"), await b.puppet("alive")
            dead.stop()
            message = {"op": "greet", "name": "you"}
            answers = await b.ask("broadcast", message=message)
            assert answers[alive.address] == {"status": "OK", "result": "hello you"}
            assert answers[dead.address]["status"] == "error"
            assert "cannot connect" in answers[dead.address]["error"][1]
            assert list(await b.ask("broadcast", message=message, workers=["alive"])) == [alive.address]
            wrong = await b.ask("broadcast", message={"op": "greet", "nam": "you"}, workers=["alive"])
            assert "nam" in wrong[alive.address]["error"][1]
            with pytest.raises(TypeError, match="'op' is missing"):
                await b.ask("broadcast", message={"name": "you"})
            with pytest.raises(NoWorkersError):
                await b.ask("broadcast", message=message, workers=["nobody"])

    run_async(main())


def test_restart_forgets_everything_and_has_nannies_replace_their_workers():
    async def main():
        async with bed() as b:
            kept, client = await b.puppet("kept"), await b.client()
            told = await b.watch()
            await b.compute(kept, client, "k", 1)
            nanny = await b.make(PuppetNanny())
            old = await b.puppet("nursed", nanny=nanny.address)

            async def replace():
                await old.close()
                await until(lambda: old.address not in b.scheduler.workers)
                await b.puppet("nursed", nanny=nanny.address)

            nanny.on_restart = replace
            await client.read()
            result = await b.ask("restart", timeout_s=5.0)
            assert result == {"restarted": 1, "kept": [kept.address], "failed": []}
            assert len(b.scheduler.workers) == 2
            assert not b.scheduler.machine.state.tasks
            await until(lambda: [m for m in told if getattr(m, "expected", None)])
            assert any(isinstance(m, KeyCancelled) and m.reason == "restart" for m in await client.read())
            await until(lambda: kept.heard(DropData))

    run_async(main())


@pytest.mark.expect_log("restart: some workers did not restart: .*cannot do it")
@pytest.mark.expect_log("worker nursed at .* left")
def test_a_restart_that_fails_is_told_and_its_worker_is_still_one():
    async def main():
        async with bed() as b:
            nanny = await b.make(PuppetNanny())
            puppet = await b.puppet("nursed", nanny=nanny.address)
            told = await b.watch()

            async def fail():
                raise OSError("cannot do it")

            nanny.on_restart = fail
            result = await b.ask("restart", timeout_s=5.0)
            assert result["restarted"] == 0
            assert result["failed"] == [f"{puppet.address}: OSError: cannot do it"]
            assert list(b.scheduler.workers) == [puppet.address]
            await b.ask("worker_exited", worker=puppet.address, reason="killed by signal 9 (SIGKILL)")
            puppet.connection.abort()
            await until(lambda: [m for m in told if getattr(m, "expected", None) is False])

    run_async(main())


def test_retired_workers_hand_over_what_only_they_hold():
    async def main():
        async with bed() as b:
            leaving, client = await b.puppet("leaving"), await b.client()
            await b.compute(leaving, client, "k", 41)
            staying = await b.puppet("staying")
            await b.submit(client, "busy-1", "busy-2", "busy-3")
            await until(lambda: len(leaving.heard(RunTask)) + len(staying.heard(RunTask)) >= 4)
            told = await b.watch()
            retiring = asyncio.ensure_future(b.ask("retire_workers", workers=["leaving"], reason="scale down"))
            await until(lambda: staying.heard(FetchData))
            assert leaving.status == "running"
            staying.data["k"] = leaving.data["k"]
            staying.connection.send(DataAdded({"k": 5}))
            assert await retiring == [leaving.address]
            await leaving.finished()
            await until(lambda: list(b.scheduler.workers) == [staying.address])
            assert loads((await b.ask("gather", keys=["k"]))["k"]) == 41
            await until(lambda: [m for m in told if getattr(m, "expected", None)])
            # Its unfinished tasks run elsewhere and are under no suspicion.
            for key in ("busy-1", "busy-2", "busy-3"):
                assert b.scheduler.machine.state.tasks[key].trouble is None
            with pytest.raises(NoWorkersError):
                await b.ask("retire_workers", workers=["leaving"])

    run_async(main())


@pytest.mark.expect_log("cannot tell .* to go")
def test_a_worker_that_cannot_be_told_to_go_gets_no_more_tasks():
    async def main():
        async with bed() as b:
            puppet, client = await b.puppet("stuck"), await b.client()
            puppet.stop()
            assert await b.ask("retire_workers", workers=["stuck"]) == [puppet.address]
            await b.submit(client, "k")
            await until(lambda: "k" in b.scheduler.machine.state.tasks)
            assert not puppet.heard(RunTask)
            client.send(CancelKeys(["k"]))
            other = await b.puppet("other")
            await b.submit(client, "k2")
            await until(lambda: other.heard(RunTask))

    run_async(main())


def test_replicate_makes_as_many_copies_as_wanted():
    async def main():
        async with bed() as b:
            puppets = [await b.puppet(f"w{i}") for i in range(4)]
            client = await b.client()
            await b.submit(client, "k")
            (one,) = await until(lambda: [p for p in puppets if p.heard(RunTask)])
            one.finish(one.heard(RunTask)[0], 1)
            await until(lambda: b.scheduler.machine.state.tasks["k"].holders)
            replicating = asyncio.ensure_future(b.ask("replicate", keys=["k", "unknown"], n=2))
            (two,) = await until(lambda: [p for p in puppets if p.heard(FetchData)])
            two.connection.send(DataAdded({"k": 5}))
            await replicating
            assert {*(await b.ask("who_has"))["k"]} == {one.address, two.address}
            with pytest.raises(NoWorkersError):
                await b.ask("replicate", keys=["k"], workers=["nobody"])

    run_async(main())
