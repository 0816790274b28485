import asyncio
import gc
import threading

import pytest

from distributed.client.future import Future
from distributed.client.session import Session
from distributed.errors import ConnectionClosedError, ConnectionLostError, RequestTimeoutError
from distributed.messages import (
    Goodbye,
    Heartbeat,
    KeyErred,
    KeyInMemory,
    ReleaseKeys,
    Reply,
    Request,
    SubmitBlock,
    SubmitTasks,
    TaskOptions,
    TaskSpec,
    WantKeys,
)
from distributed.payloads import Buffer
from distributed.wire.failure import dump_error
from tests.aio import run_async, until
from tests.unit.client.sessionbed import DOUBLE, StubConnection, spec, tasks_in, with_session


def test_tasks_submitted_together_travel_in_one_message_with_their_function_once():
    async def test(session, connection):
        session.submit([spec("x"), spec("y")], DOUBLE)
        session.submit([spec("z")], DOUBLE)
        await until(lambda: connection.sent)
        assert connection.sent == [SubmitTasks([spec("x"), spec("y"), spec("z")], {"f1": b"code"})]
        session.submit([spec("u")], DOUBLE)
        await until(lambda: len(connection.sent) == 2)
        assert connection.sent[1] == SubmitTasks([spec("u")], {})

    with_session(test)


def test_equal_keys_are_submitted_once():
    async def test(session, connection):
        x, again, _ = session.submit([spec("x"), spec("x"), spec("y")], DOUBLE)
        await until(lambda: connection.sent)
        assert x is again
        assert tasks_in(connection.sent) == ["x", "y"]

    with_session(test)


def test_many_tasks_travel_in_pieces_in_order():
    async def test(session, connection):
        keys = [f"k{i}" for i in range(3500)]
        session.submit(list(map(spec, keys)), DOUBLE)
        await until(lambda: len(connection.sent) == 4)
        assert tasks_in(connection.sent) == keys
        assert max(len(m.keys) for m in connection.sent) == 1000

    with_session(test)


def test_tasks_that_differ_in_their_arguments_only_travel_as_a_block_those_around_them_do_not():
    async def test(session, connection):
        others = [TaskSpec("a", "f1", b"a", ["p"]), TaskSpec("b", "f1", b"a", ["p", "q"])]
        alike = [TaskSpec(f"k{i}", "f1", b"%d" % i, ["p", "q"]) for i in range(8)]
        asking = [TaskSpec(f"o{i}", "f1", b"a", ["p", "q"], TaskOptions(priority=1)) for i in range(9)]
        session.submit(alike, DOUBLE)
        session.submit(others, DOUBLE)
        session.submit(asking, DOUBLE)
        await until(lambda: len(tasks_in(connection.sent)) == 19)
        keys, args = [spec.key for spec in alike], [spec.args for spec in alike]
        assert connection.sent[0] == SubmitBlock("f1", keys, args, {"f1": DOUBLE.payload}, ["p", "q"])
        assert connection.sent[1:] == [SubmitTasks([*others, *asking])]

    with_session(test)


def test_few_tasks_of_a_kind_are_no_block():
    async def test(session, connection):
        session.submit([spec(f"k{i}") for i in range(7)], DOUBLE)
        await until(lambda: connection.sent)
        assert [type(message) for message in connection.sent] == [SubmitTasks]

    with_session(test)


@pytest.mark.parametrize(("size", "turns"), [(1000, [6]), (2**16, [2, 2, 2]), (2**20, [1] * 6)])
def test_messages_that_wait_go_together_up_to_a_size(size, turns):
    async def test(session, connection):
        connection.bytes_per_message = size
        for number in range(6):
            session.post(WantKeys([str(number)]))
        await until(lambda: len(connection.sent) == 6)
        assert connection.turns == turns
        assert connection.sent == [WantKeys([str(number)]) for number in range(6)]

    with_session(test)


def test_large_arguments_make_small_pieces():
    async def test(session, connection):
        big = [b"head", Buffer(bytes(5 * 2**20))]
        session.submit([spec(f"k{i}", big) for i in range(4)], DOUBLE)
        await until(lambda: len(connection.sent) == 2)
        assert [len(m.tasks) for m in connection.sent] == [2, 2]

    with_session(test)


def test_a_busy_socket_is_waited_for_and_the_rest_stays_here():
    async def test(session, connection):
        connection.busy = True
        session.submit(list(map(spec, map(str, range(5000)))), DOUBLE)
        await until(lambda: connection.drains == 1)
        assert connection.sent == []
        session.post(WantKeys(["later"]))
        connection.free()
        await until(lambda: WantKeys(["later"]) in connection.sent)
        assert len(tasks_in(connection.sent)) == 5000
        assert connection.drains == 1

    with_session(test)


def test_messages_keep_their_order_with_tasks():
    async def test(session, connection):
        session.submit([spec("x")], DOUBLE)
        session.want("w")
        session.submit([spec("y")], DOUBLE)
        await until(lambda: len(connection.sent) == 3)
        kinds = [type(message) for message in connection.sent]
        assert kinds == [SubmitTasks, WantKeys, SubmitTasks]

    with_session(test)


def test_any_thread_may_submit():
    async def test(session, connection):
        def work(name):
            for i in range(200):
                session.submit([spec(f"{name}-{i}")], DOUBLE)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        await until(lambda: len(tasks_in(connection.sent)) == 800)
        assert len(set(tasks_in(connection.sent))) == 800
        for thread in threads:
            thread.join()

    with_session(test)


class Owner:
    asynchronous = True

    def __init__(self, session):
        self.session = self._session = session


def test_collected_futures_release_their_keys_together():
    async def test(session, connection):
        owner = Owner(session)
        states = session.submit([spec("x"), spec("y")], DOUBLE)
        connection.arrive(*[KeyInMemory(key, "int", 8, [], b"r") for key in "xy"])
        await until(lambda: states[1].status == "finished")
        futures = [Future(state.key, owner, state) for state in states]
        del futures
        gc.collect()
        await until(lambda: len(connection.sent) == 2)
        assert sorted(connection.sent[1].keys) == ["x", "y"]

    with_session(test)


@pytest.fixture
def unhurried(monkeypatch):
    monkeypatch.setattr("distributed.client.session._RELEASE_S", 3600.0)


@pytest.mark.usefixtures("unhurried")
def test_a_released_key_goes_with_what_is_submitted_next_and_before_it():
    async def test(session, connection):
        future = Future("x", Owner(session), session.submit([spec("x")], DOUBLE)[0])
        await until(lambda: connection.sent)
        connection.arrive(KeyInMemory("x", "int", 8, [], b"r"))
        await until(future.done)
        future.release()
        session.submit([spec("y")], DOUBLE)
        await until(lambda: len(connection.sent) > 1)
        assert connection.sent[1:] == [ReleaseKeys(["x"]), SubmitTasks([spec("y")])]

    with_session(test)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("what", ["request", "post", "cancel", "retry"])
def test_whatever_comes_after_a_release_is_sent_after_it(what):
    async def test(session, connection):
        x, y = session.submit([spec("x"), spec("y")], DOUBLE)
        await until(lambda: connection.sent)
        connection.arrive(KeyInMemory("x", "int", 8, [], b"r"), KeyErred("y", dump_error(KeyError("y"))))
        await until(lambda: y.status == "error")
        (z,) = session.submit([spec("z")], DOUBLE)
        await until(lambda: len(connection.sent) == 2)
        session.forget(x)
        acts = {
            "request": lambda: asyncio.ensure_future(session.request("one")),
            "post": lambda: session.post(WantKeys(["w"])),
            "cancel": lambda: session.cancel([z]),
            "retry": lambda: session.retry([y]),
        }
        acting = acts[what]()
        await until(lambda: len(connection.sent) > 3)
        assert connection.sent[2] == ReleaseKeys(["x"])
        if acting is not None:
            acting.cancel()

    with_session(test)


@pytest.mark.usefixtures("unhurried")
def test_many_released_keys_go_at_once():
    async def test(session, connection):
        states = session.submit([spec(f"k{i}") for i in range(64)], DOUBLE)
        await until(lambda: connection.sent)
        connection.arrive(*[KeyInMemory(state.key, "int", 8, [], b"r") for state in states])
        await until(lambda: states[-1].status == "finished")
        for state in states:
            session.forget(state)
        await until(lambda: len(connection.sent) == 2)
        assert len(connection.sent[1].keys) == 64

    with_session(test)


def test_a_future_may_be_collected_while_the_lock_is_held():
    async def test(session, connection):
        future = Future("x", Owner(session), session.submit([spec("x")], DOUBLE)[0])
        with session.lock:
            del future
            gc.collect()
        await until(lambda: any(isinstance(m, ReleaseKeys) for m in connection.sent))

    with_session(test)


def test_requests_are_answered_out_of_order():
    async def test(session, connection):
        first = asyncio.ensure_future(session.request("one", a=1))
        second = asyncio.ensure_future(session.request("two"))
        await until(lambda: len(connection.sent) == 2)
        ids = [message.id for message in connection.sent]
        assert connection.sent[0] == Request("one", {"a": 1}, ids[0])
        connection.arrive(Reply(ids[1], "B"), Reply(ids[0], "A"))
        assert [await first, await second] == ["A", "B"]

    with_session(test)


def test_a_failed_request_raises_the_remote_error():
    async def test(session, connection):
        asked = asyncio.ensure_future(session.request("one"))
        await until(lambda: connection.sent)
        connection.arrive(Reply(connection.sent[0].id, error=dump_error(KeyError("nobody"))))
        with pytest.raises(KeyError, match="nobody"):
            await asked

    with_session(test)


def test_an_unanswered_request_gives_up_and_says_what_it_asked():
    async def test(session, connection):
        with pytest.raises(RequestTimeoutError, match=r"10\.0\.0\.1:1 did not answer one within 0\.01 s"):
            await session.request("one", patience_s=0.01)
        connection.arrive(Reply(connection.sent[0].id, "too late"))
        session.submit([spec("x")], DOUBLE)
        connection.arrive(KeyInMemory("x", "int", 8, [], b"r"))
        await until(lambda: session.table.states["x"].status == "finished")

    with_session(test)


@pytest.mark.expect_log("lost the scheduler at 10.0.0.1:1: gone")
def test_when_the_scheduler_is_lost_nothing_stays_pending():
    async def test(session, connection):
        (x,) = session.submit([spec("x")], DOUBLE)
        asked = asyncio.ensure_future(session.request("one"))
        await until(lambda: len(connection.sent) == 2)
        connection.break_(ConnectionLostError("gone"))
        with pytest.raises(ConnectionLostError, match=r"10\.0\.0\.1:1"):
            await asked
        assert x.status == "lost"
        for attempt in (lambda: session.submit([spec("y")], DOUBLE), lambda: session.want("z")):
            with pytest.raises(ConnectionLostError, match=r"10\.0\.0\.1:1"):
                attempt()
        with pytest.raises(ConnectionLostError):
            await session.request("two")

    with_session(test)


@pytest.mark.expect_log("lost the scheduler at 10.0.0.1:1: it was terminated")
def test_the_schedulers_last_words_are_repeated():
    async def test(session, connection):
        connection.arrive(Goodbye("it was terminated"))
        connection.break_(ConnectionLostError("gone"))
        await until(lambda: session.ended is not None)

    with_session(test)


@pytest.mark.expect_log("unexpected Heartbeat")
def test_a_message_that_does_not_belong_here_is_logged():
    async def test(session, connection):
        connection.arrive(Heartbeat(1, 1))
        (x,) = session.submit([spec("x")], DOUBLE)
        connection.arrive(KeyInMemory("x", "int", 8, [], b"r"))
        await until(lambda: x.status == "finished")

    with_session(test)


@pytest.mark.expect_log("it is late")
def test_messages_that_came_with_the_registration_count():
    async def main():
        connection = StubConnection()
        early = [KeyInMemory("unknown", "int", 8, [], b"r"), Goodbye("it is late")]
        session = Session(connection, "me", address="a:1", scheduler_id="s", secret=b"s", early=early)
        connection.break_(ConnectionLostError("gone"))
        await until(lambda: session.ended is not None)
        assert "it is late" in str(session.ended)
        await session.close()

    run_async(main())


def test_close_sends_what_waits_and_cancels_what_is_pending():
    async def test(session, connection):
        (x,) = session.submit([spec("x")], DOUBLE)
        session.post(WantKeys(["w"]))
        await session.close()
        assert [type(m) for m in connection.sent] == [SubmitTasks, WantKeys]
        assert (x.status, connection.closed) == ("cancelled", True)
        with pytest.raises(ConnectionClosedError, match="closed"):
            session.check()
        await session.close()

    with_session(test)


def test_blocking_on_the_loops_own_thread_is_refused():
    async def test(session, connection):
        with pytest.raises(RuntimeError, match="block the event loop"):
            session.run(session.request("one"))

    with_session(test)


def test_running_from_another_thread():
    async def test(session, connection):
        loop = asyncio.get_running_loop()

        async def answer():
            return threading.get_ident()

        result = await loop.run_in_executor(None, lambda: session.run(answer(), 5.0))
        assert result == threading.get_ident()

        def too_long():
            with pytest.raises(RequestTimeoutError, match=r"within 0\.01 s"):
                session.run(asyncio.sleep(60), 0.01)

        await loop.run_in_executor(None, too_long)

    with_session(test)


def test_a_silenced_session_never_touches_its_loop():
    async def test(session, connection):
        session.silence()
        session.want("w")
        await asyncio.sleep(0)
        assert connection.sent == []

    with_session(test)
