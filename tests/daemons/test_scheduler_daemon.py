"""The scheduler's daemon: who joins, who leaves and why, and who is told."""

from __future__ import annotations

import asyncio

import pytest

from distributed.comm import connect
from distributed.errors import ConfigError
from distributed.messages import (
    Goodbye,
    Heartbeat,
    KeyCancelled,
    KeyErred,
    Reply,
    Request,
    RunTask,
    SetHeartbeat,
    SubmitTasks,
    TaskFinished,
    TaskSpec,
    WorkerAppeared,
)
from distributed.scheduler import daemon as module
from distributed.scheduler import liveness
from distributed.wire.payload import dumps, dumps_call
from tests.aio import run_async, until
from tests.daemons.schedulerbed import SECRET, Puppet, bed, departures

# -- workers come and go ------------------------------------------------------------------------


def test_a_worker_is_registered_and_shown():
    async def main():
        async with bed(name="one") as b:
            puppet = await b.make(Puppet())
            reply = await puppet.join(b.scheduler, "w", nthreads=3, job_id="7_1", pid=12, resources={"GPU": 1.0})
            assert (reply["id"], reply["name"]) == (b.scheduler.id, "w")
            about = await b.ask("identity")
            assert (about["type"], about["name"], about["clients"]) == ("Scheduler", "one", 0)
            shown = about["workers"][puppet.address]
            assert (shown["name"], shown["nthreads"], shown["job_id"], shown["pid"]) == ("w", 3, "7_1", 12)
            assert shown["resources"] == {"GPU": 1.0}
            assert await b.ask("ncores") == {puppet.address: 3}
            nameless = await b.puppet()
            assert b.scheduler.workers[nameless.address].info["name"] == nameless.address

    run_async(main())


@pytest.mark.expect_log("refused worker .* is taken by")
def test_a_taken_name_is_refused_with_both_addresses():
    async def main():
        async with bed() as b:
            first = await b.puppet("w")
            second = await b.make(Puppet())
            with pytest.raises(ConfigError) as caught:
                await second.join(b.scheduler, "w")
            assert first.address in str(caught.value)
            assert second.address in str(caught.value)
            assert list(b.scheduler.workers) == [first.address]

    run_async(main())


@pytest.mark.expect_log("worker w at .* left: it did not answer when")
def test_a_dead_namesake_gives_way():
    async def main():
        async with bed() as b:
            first = await b.puppet("w")
            first.stop()  # its host is gone: nobody answers there, and nothing closes the connection
            b.scheduler.pool.abort()
            b.scheduler.pool._closed = False
            second = await b.puppet("w")
            assert list(b.scheduler.workers) == [second.address]

    run_async(main())


@pytest.mark.expect_log("refused worker .* is taken by")
def test_a_namesake_that_is_busy_keeps_its_name(monkeypatch):
    monkeypatch.setattr(module, "PING_S", 0.05)

    async def main():
        async with bed() as b:
            first = await b.puppet("w")
            first.deaf.clear()  # a task holds its interpreter
            with pytest.raises(ConfigError, match="taken"):
                await (await b.make(Puppet())).join(b.scheduler, "w")
            b.scheduler.workers[first.address].last_seen_s -= 1000.0
            b.scheduler.pool.forget(first.address)

    run_async(main())


@pytest.mark.expect_log("worker w at .* left: it did not answer")
def test_a_namesake_that_is_silent_for_long_does_not(monkeypatch):
    monkeypatch.setattr(module, "PING_S", 0.05)

    async def main():
        async with bed() as b:
            first = await b.puppet("w")
            first.deaf.clear()
            b.scheduler.workers[first.address].last_seen_s -= 1000.0
            second = await b.puppet("w")
            assert list(b.scheduler.workers) == [second.address]
            first.deaf.set()

    run_async(main())


@pytest.mark.expect_log("worker w at .* left: it did not answer")
@pytest.mark.expect_log("refused worker .* is taken by")
def test_of_two_that_want_a_dead_name_at_once_one_gets_it(monkeypatch):
    monkeypatch.setattr(module, "PING_S", 0.05)

    async def main():
        async with bed() as b:
            first = await b.puppet("w")
            first.deaf.clear()
            b.scheduler.workers[first.address].last_seen_s -= 1000.0
            rivals = [await b.make(Puppet()) for _ in range(3)]
            results = await asyncio.gather(*(r.join(b.scheduler, "w") for r in rivals), return_exceptions=True)
            assert sorted(isinstance(r, ConfigError) for r in results) == [False, True, True]
            assert len(b.scheduler.workers) == 1
            first.deaf.set()

    run_async(main())


@pytest.mark.expect_log("a new process registered at its address")
def test_the_same_address_may_register_again():
    async def main():
        async with bed() as b:
            told = await b.watch()
            puppet = await b.puppet("w")
            await puppet.join(b.scheduler, "w")
            assert list(b.scheduler.workers) == [puppet.address]
            await until(lambda: len(told) == 3)
            assert departures(told) == [("w", "a new process registered at its address", False)]
            assert await b.ask("ncores") == {puppet.address: 1}

    run_async(main())


def test_who_does_not_wait_for_the_answer_is_not_registered(monkeypatch):
    monkeypatch.setattr(module, "PING_S", 0.2)

    async def main():
        async with bed() as b:
            first = await b.puppet("w")
            first.deaf.clear()
            b.scheduler.workers[first.address].last_seen_s -= 1000.0
            connection = await connect(b.scheduler.address, secret=SECRET, role="worker")
            connection.send(Request("register_worker", {"address": "127.0.0.1:1", "name": "w"}, 1))
            await connection.drain(0)
            await asyncio.sleep(0.05)
            connection.abort()
            first.deaf.set()
            await until(lambda: "127.0.0.1:1" not in b.scheduler.workers)
            assert "127.0.0.1:1" not in b.scheduler.machine.state.workers

    run_async(main())


def test_watchers_are_told_who_is_there_and_who_goes(expect_log):
    expect_log("worker b at .* left: its connection was lost")

    async def main():
        async with bed() as b:
            one = await b.puppet("a", job_id="9")
            told = await b.watch()
            two = await b.puppet("b")
            await until(lambda: len(told) == 2)
            assert [(m.name, m.address, m.job_id) for m in told] == [("a", one.address, "9"), ("b", two.address, "")]
            assert all(isinstance(m, WorkerAppeared) for m in told)
            one.connection.send(Goodbye("its walltime ends"))
            await one.connection.close()
            two.connection.abort()
            await until(lambda: len(told) == 4)
            assert set(departures(told)) == {
                ("a", "its walltime ends", True),
                ("b", "its connection was lost", False),
            }

    run_async(main())


def test_the_nanny_says_how_a_process_ended_before_or_after_the_connection_breaks(expect_log):
    expect_log("killed by signal 11")

    async def main():
        async with bed() as b:
            told = await b.watch()
            first = await b.puppet("first", nanny="127.0.0.1:1")
            second = await b.puppet("second", nanny="127.0.0.1:1")
            await b.ask("worker_exited", worker=first.address, reason="killed by signal 11 (SIGSEGV)")
            first.connection.abort()
            second.connection.abort()
            await b.ask("worker_exited", worker=second.address, reason="ended by its nanny", expected=True)
            await until(lambda: len(departures(told)) == 2)
            assert set(departures(told)) == {
                ("first", "killed by signal 11 (SIGSEGV)", False),
                ("second", "ended by its nanny", True),
            }
            await b.ask("worker_exited", worker=second.address, reason="late")  # nobody minds

    run_async(main())


def test_a_silent_nanny_is_not_waited_for(expect_log, monkeypatch):
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.05)
    expect_log("its nanny does not say")

    async def main():
        async with bed() as b:
            puppet = await b.puppet("w", nanny="127.0.0.1:1")
            puppet.connection.abort()
            await until(lambda: not b.scheduler.workers)

    run_async(main())


def test_while_a_nanny_is_waited_for_its_dead_worker_gets_no_tasks(expect_log):
    expect_log("killed by signal 9")

    async def main():
        async with bed() as b:
            dead = await b.puppet("dead", nanny="127.0.0.1:1")
            alive, client = await b.puppet("alive"), await b.client()
            state = b.scheduler.machine.state
            dead.connection.abort()
            await until(lambda: state.workers[dead.address].paused)
            await b.submit(client, "a", "b", "c")
            await until(lambda: len(alive.heard(RunTask)) == 2)
            assert not state.workers[dead.address].processing
            await b.ask("worker_exited", worker=dead.address, reason="killed by signal 9 (SIGKILL)")
            await until(lambda: dead.address not in state.workers)
            assert all(task.trouble is None for task in state.tasks.values())

    run_async(main())


def test_a_dead_worker_whose_connection_a_child_keeps_open_is_let_go(expect_log, monkeypatch):
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.05)
    monkeypatch.setattr(module, "PING_S", 0.05)
    expect_log("worker w at .* left: exit code 1")

    async def main():
        async with bed() as b:
            puppet = await b.puppet("w", nanny="127.0.0.1:1")
            puppet.deaf.clear()  # the child also keeps the port open, where nobody answers
            await b.ask("worker_exited", worker=puppet.address, reason="exit code 1")
            await until(lambda: not b.scheduler.workers)

    run_async(main())


def test_a_late_word_about_its_predecessor_does_not_cost_a_worker_its_place(monkeypatch):
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.05)

    async def main():
        async with bed() as b:
            puppet = await b.puppet("w", nanny="127.0.0.1:1")
            worker = b.scheduler.workers[puppet.address]
            await b.ask("worker_exited", worker=puppet.address, reason="exit code 1")
            assert worker.exit.done()
            await until(lambda: not worker.exit.done())
            assert list(b.scheduler.workers) == [puppet.address]

    run_async(main())


def test_a_worker_that_is_silent_for_too_long_is_given_up(expect_log, monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 0.06)
    monkeypatch.setattr(liveness, "SILENCE_S", 0.2)
    expect_log("worker mute at .* left: it was silent for 0.2 s")

    async def main():
        async with bed() as b:
            mute, beating = await b.puppet("mute"), await b.puppet("beating")

            async def beat():
                beating.connection.send(Heartbeat(0, 0))
                return mute.address not in b.scheduler.workers

            await until(beat)
            assert list(b.scheduler.workers) == [beating.address]

    run_async(main())


def test_a_worker_learns_by_a_heartbeat_that_there_are_many_more_now_and_then_is_left_alone(monkeypatch):
    monkeypatch.setattr(liveness, "BEATS_PER_S", 0.1)  # so that two are many

    async def main():
        async with bed() as b:
            first = await b.make(Puppet())
            assert (await first.join(b.scheduler, "first"))["heartbeat_s"] == 10.0
            second = await b.make(Puppet())
            assert (await second.join(b.scheduler, "second"))["heartbeat_s"] == 20.0
            for _ in range(3):
                first.connection.send(Heartbeat(0, 0))
                second.connection.send(Heartbeat(0, 0))
                await first.connection.drain()
            await until(lambda: first.heard(SetHeartbeat))
            await b.submit(await b.client(), "a", "b")
            await until(lambda: first.heard(RunTask) and second.heard(RunTask))
            assert first.heard(SetHeartbeat) == [SetHeartbeat(20.0)]
            assert second.heard(SetHeartbeat) == []

    run_async(main())


@pytest.mark.expect_log("it sent nonsense: a worker does not send SubmitTasks")
def test_a_worker_that_talks_nonsense_loses_only_its_place():
    async def main():
        async with bed() as b:
            bad, good = await b.puppet("bad"), await b.puppet("good")
            bad.connection.send(SubmitTasks([]))
            await until(lambda: list(b.scheduler.workers) == [good.address])
            assert await b.ask("ncores") == {good.address: 1}

    run_async(main())


# -- clients --------------------------------------------------------------------------------------


def test_a_client_id_can_be_had_once():
    async def main():
        async with bed() as b:
            await b.client("twice")
            connection = await connect(b.scheduler.address, secret=SECRET)
            connection.send(Request("register_client", {"client": "twice"}, 5))
            (reply,) = await connection.read()
            assert reply.id == 5
            assert "twice is connected already" in reply.error.message
            connection.abort()

    run_async(main())


def test_requests_on_a_clients_stream_are_answered_after_what_came_before():
    async def main():
        async with bed() as b:
            puppet = await b.puppet("w")
            connection = await b.client()
            connection.send(
                Request("wait_for_workers", {"n": 2}, 7),  # answered last: it has to wait
                SubmitTasks([], {}),
                Request("why", {"key": "x"}, 8),
                Request("no_such_thing", {}, 9),
            )
            replies = [m for m in await connection.read() if isinstance(m, Reply)]
            while len(replies) < 2:
                replies += [m for m in await connection.read() if isinstance(m, Reply)]
            assert [m.id for m in replies] == [8, 9]
            assert replies[0].result == "x is not known to this scheduler"
            assert "no operation 'no_such_thing'" in replies[1].error.message
            await b.puppet("v")
            (last,) = await connection.read()
            assert (last.id, last.result) == (7, 2)
            assert puppet.address in await b.ask("has_what")

    run_async(main())


def test_a_circle_or_an_unknown_dependency_is_an_error_and_no_wait():
    async def main():
        async with bed() as b:
            await b.puppet()
            connection = await b.client()
            args = dumps_call((), {})[0]
            tasks = [
                TaskSpec("a", "f", args, ["b"]),
                TaskSpec("b", "f", args, ["a"]),
                TaskSpec("c", "f", args, ["nowhere"]),
            ]
            connection.send(SubmitTasks(tasks, {"f": dumps(int)}))
            told = {}
            while len(told) < 3:
                told.update({m.key: m for m in await connection.read()})
            assert sorted(told) == ["a", "b", "c"]
            for message in told.values():
                assert isinstance(message, KeyErred | KeyCancelled)
            assert "nowhere" in str(told["c"])

    run_async(main())


@pytest.mark.expect_log("sent nonsense and is disconnected: a client does not send TaskFinished")
def test_a_client_that_talks_nonsense_is_told_and_left():
    async def main():
        async with bed() as b:
            puppet = await b.puppet("w")
            connection = await b.client()
            await b.compute(puppet, connection, "k", 1)
            await connection.read()
            connection.send(TaskFinished("k", 1, 1, 0.0, "int"))
            batch = await connection.read()
            assert "does not send TaskFinished" in batch[-1].error.message
            await until(lambda: not b.scheduler.clients)
            await until(lambda: not b.scheduler.machine.state.tasks)

    run_async(main())
