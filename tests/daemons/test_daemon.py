import asyncio
import contextlib
import errno
import logging
import socket
import threading
import time

import pytest
from tornado.ioloop import IOLoop

from distributed import daemon as module
from distributed import network
from distributed.comm import connect
from distributed.daemon import Daemon, operation
from distributed.errors import CommError, ConfigError, ConnectionClosedError, ConnectionLostError
from distributed.messages import Goodbye, Request
from distributed.payloads import Buffer
from distributed.pool import ConnectionPool, rpc
from distributed.worker.memory import resident_bytes
from tests.aio import run_async, until, until_sync
from tests.daemons.linkbed import SECRET, Answerer, running


@contextlib.contextmanager
def loop_in_thread(before=None):
    """A Tornado loop that runs in a thread, as in the founding document."""
    loop = IOLoop(make_current=False)
    if before is not None:
        before(loop)
    thread = threading.Thread(target=loop.start)
    thread.start()
    try:
        yield loop
    finally:
        loop.add_callback(loop.stop)
        thread.join(10)
        loop.close(all_fds=True)


def close_from_outside(daemon):
    asyncio.run_coroutine_threadsafe(daemon.close(), daemon.loop.asyncio_loop).result(10)


# -- starting ------------------------------------------------------------------------------------------------


def test_started_from_another_thread_while_the_loop_runs():
    with loop_in_thread() as loop:
        daemon = Answerer(loop=loop)
        daemon.start(0).result(10)
        assert daemon.status == "running"
        assert rpc(daemon.address, secret=SECRET).ping() == "pong"
        close_from_outside(daemon)
        assert daemon.status == "closed"


def test_started_before_the_loop_runs():
    made = []

    def before(loop):
        made.append(Answerer(loop=loop))
        made.append(made[0].start(0))
        assert not made[1].done()
        assert made[0].port > 0

    with loop_in_thread(before):
        made[1].result(10)
        assert rpc(made[0].address, secret=SECRET).ping() == "pong"
        close_from_outside(made[0])


def test_start_awaited_on_the_loop():
    async def main():
        daemon = Answerer()
        assert "not listening" in repr(daemon)
        with pytest.raises(OSError, match="call start"):
            _ = daemon.address
        await daemon.start(0)
        assert daemon.status == "running"
        assert daemon.address in repr(daemon)
        with pytest.raises(RuntimeError, match="was started before"):
            daemon.start(0)
        await daemon.close()
        with pytest.raises(RuntimeError, match="was started before"):
            daemon.start(0)

    run_async(main())


def test_a_port_in_use_is_one_sentence_that_names_the_option():
    async def main():
        async with running() as daemon:
            with pytest.raises(
                ConfigError, match=rf"^port {daemon.port} is in use on this host, .*with --port, or 0"
            ) as e:
                Answerer().start(daemon.port)
            assert e.value.value == daemon.port
            assert "\n" not in str(e.value)

    run_async(main())


def test_a_daemon_whose_port_was_taken_may_try_another():
    async def main():
        async with running() as daemon:
            second = Answerer()
            with pytest.raises(ConfigError):
                second.start(daemon.port)
            await second.start(0)
            await second.close()

    run_async(main())


@pytest.mark.parametrize(
    ("options", "port", "words"),
    [
        ({}, -1, "-1 is not a port: use 0 to 65535"),
        ({}, 65536, "65536 is not a port"),
        ({"host": "192.0.2.77"}, 0, "192.0.2.77 is not an address of this host: name one .* --host or --interface"),
        ({"host": "no-such-host.invalid"}, 0, "the host name 'no-such-host.invalid' cannot be resolved"),
    ],
)
def test_a_place_where_it_cannot_listen_is_one_sentence(options, port, words):
    async def main():
        daemon = Answerer(**options)
        with pytest.raises(ConfigError, match=words):
            daemon.start(port)
        await daemon.close()

    run_async(main())


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EACCES, "port 80 needs special rights"), (errno.ENOBUFS, "cannot listen on 127")]
)
def test_other_refusals_of_the_system_are_told(number, words, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(number, "reason")

    monkeypatch.setattr(module, "listen", refuse)

    async def main():
        with pytest.raises(ConfigError, match=words):
            Answerer().start(80)

    run_async(main())


@pytest.mark.parametrize(("own", "where"), [("127.0.0.1", "0.0.0.0"), ("::1", "::")])
def test_without_a_host_it_listens_on_all_addresses_and_tells_the_best(own, where, monkeypatch):
    monkeypatch.setattr(module, "own_address", lambda: own)

    async def main():
        async with running(host=None) as daemon:
            assert daemon.address == network.join_address(own, daemon.port)
            [listening] = daemon._sockets.values()
            assert listening.getsockname()[0] == where
            pool = ConnectionPool(SECRET)
            assert await pool.request(daemon.address, "ping") == "pong"
            await pool.close()

    run_async(main())


class Failing(Answerer):
    problem: Exception = ConfigError("it cannot be")

    async def _start(self):
        raise self.problem


@pytest.mark.expect_log("Answerer could not start: it cannot be")
def test_a_start_that_fails_closes_the_daemon_with_exit_code_1():
    async def main():
        daemon = Failing()
        with pytest.raises(ConfigError, match="it cannot be"):
            await daemon.start(0)
        await daemon.finished()
        assert daemon.exit_code == 1
        assert daemon.close_reason == "it cannot be"

    run_async(main())


@pytest.mark.expect_log("Answerer could not start: it cannot be")
def test_a_start_that_fails_is_told_to_the_other_thread():
    with loop_in_thread() as loop:
        daemon = Failing(loop=loop)
        with pytest.raises(ConfigError, match="it cannot be"):
            daemon.start(0).result(10)
        until_sync(lambda: daemon.status == "closed")


@pytest.mark.expect_log("bug in task start, ending")
def test_a_bug_in_the_start_is_exit_code_70():
    class Buggy(Failing):
        problem = ZeroDivisionError("oops")

    async def main():
        daemon = Buggy()
        with pytest.raises(ZeroDivisionError):
            await daemon.start(0)
        await daemon.finished()
        assert daemon.exit_code == 70

    run_async(main())


class Slow(Answerer):
    async def _start(self):
        self.started.append("start")
        await asyncio.sleep(3600)


def test_closed_in_the_middle_of_its_start():
    async def main():
        daemon = Slow()
        start = daemon.start(0)
        await until(lambda: daemon.started)
        await asyncio.wait_for(daemon.close(), 5)
        assert start.cancelled()
        assert daemon.status == "closed"

    run_async(main())


def test_closed_in_the_middle_of_its_start_seen_from_another_thread():
    with loop_in_thread() as loop:
        daemon = Slow(loop=loop)
        start = daemon.start(0)
        until_sync(lambda: daemon.started)
        close_from_outside(daemon)
        with pytest.raises(ConnectionClosedError, match="closed during its start"):
            start.result(10)


def test_closed_before_its_start_frees_the_port():
    async def main():
        daemon = Answerer()
        daemon.bind(0)
        port = daemon.port
        await daemon.close()
        assert daemon.status == "closed"
        with socket.create_server(("127.0.0.1", port)):
            pass

    run_async(main())


# -- serving -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1000])
def test_a_thousand_connections_at_once(number):
    async def main():
        async with running() as daemon:
            connections = await asyncio.gather(
                *(connect(daemon.address, secret=SECRET, timeout_s=30.0) for _ in range(number))
            )
            await until(lambda: len(daemon._connections) == number)
            for connection in connections:
                connection.send(Request("ping"))
            replies = await asyncio.gather(*(connection.read() for connection in connections))
            assert all(batch[0].result == "pong" for batch in replies)
            for connection in connections:
                connection.abort()
            await until(lambda: not daemon._connections)

    run_async(main(), timeout_s=50)


def test_idle_connections_cost_no_cpu():
    async def main():
        async with running() as daemon:
            connections = [await connect(daemon.address, secret=SECRET) for _ in range(100)]
            await asyncio.sleep(0.05)
            start = time.process_time()
            await asyncio.sleep(0.5)
            assert time.process_time() - start < 0.03
            for connection in connections:
                connection.abort()

    run_async(main())


def test_identity_and_ping():
    async def main():
        async with running() as daemon, rpc(daemon.address, secret=SECRET) as proxy:
            assert await proxy.identity() == {"type": "Answerer", "id": daemon.id, "address": daemon.address}
            assert await proxy.ping() == "pong"
            assert daemon.id.startswith("Answerer-")

    run_async(main())


def test_operations_of_a_subclass_do_not_leak_into_its_base():
    class More(Answerer):
        @operation
        async def extra(self):
            """Do more."""

    assert "extra" in More.operations()
    assert "extra" not in Answerer.operations()
    assert set(Daemon.operations()) == {"identity", "ping", "terminate"}


# -- ending --------------------------------------------------------------------------------------------------


def test_terminate_is_answered_and_ends_the_daemon_with_exit_code_0():
    async def main():
        daemon = Answerer()
        await daemon.start(0)
        assert await rpc(daemon.address, secret=SECRET).terminate() == "OK"
        await asyncio.wait_for(daemon.finished(), 5)
        assert (daemon.exit_code, daemon.status, daemon.close_reason) == (0, "closed", "terminated")
        with pytest.raises(CommError):
            await connect(daemon.address, secret=SECRET)

    run_async(main())


def test_close_is_idempotent_and_all_callers_wait_for_the_end():
    async def main():
        closes = []

        class Careful(Answerer):
            async def _close(self, reason):
                closes.append(reason)
                await asyncio.sleep(0.01)

        daemon = Careful()
        await daemon.start(0)
        await asyncio.gather(*(daemon.close(str(i)) for i in range(5)))
        assert daemon.status == "closed"
        await daemon.close("again")
        await daemon.finished()
        assert closes == ["0"]

    run_async(main())


def test_close_cancels_operations_under_way_and_hangs_up():
    async def main():
        async with running() as daemon:
            call = asyncio.ensure_future(rpc(daemon.address, secret=SECRET).sleep())
            await until(lambda: daemon.started)
            await asyncio.wait_for(daemon.close(), 2)
            with pytest.raises(ConnectionLostError):
                await call
            assert daemon.cancelled == [3600.0]

    run_async(main())


def test_what_is_said_at_the_end_arrives():
    async def main():
        class Polite(Answerer):
            async def _close(self, reason):
                for connection in self._connections:
                    connection.send(Goodbye(reason))

        async with running(Polite()) as daemon:
            connection = await connect(daemon.address, secret=SECRET)
            connection.send(Request("collect", {"number": 5}))
            await connection.read()
            await daemon.close("enough")
            assert await connection.read() == [Goodbye("enough")]
            with pytest.raises(ConnectionLostError):
                await connection.read()

    run_async(main())


@pytest.mark.expect_log("bug in task loop, ending")
def test_the_crash_of_an_owned_task_ends_the_daemon_with_exit_code_70():
    async def main():
        async def crash():
            raise ZeroDivisionError("oops")

        async with running() as daemon:
            daemon.own(crash(), name="loop")
            await asyncio.wait_for(daemon.finished(), 5)
            assert daemon.exit_code == 70
            assert daemon.close_reason == "bug in task loop: oops"

    run_async(main())


def test_a_lost_connection_in_an_owned_task_is_no_bug():
    async def main():
        async def lose():
            raise ConnectionLostError("gone")

        async with running() as daemon:
            await asyncio.wait([daemon.own(lose())])
            await asyncio.sleep(0)
            assert (daemon.status, daemon.exit_code) == ("running", 0)

    run_async(main())


def test_an_owned_task_may_close_the_daemon():
    async def main():
        async with running() as daemon:
            daemon.own(daemon.close("from within"))
            await asyncio.wait_for(daemon.finished(), 2)
            assert daemon.close_reason == "from within"

    run_async(main())


@pytest.mark.expect_log("closing went wrong")
def test_a_close_that_goes_wrong_still_closes():
    class Clumsy(Answerer):
        async def _close(self, reason):
            raise ZeroDivisionError("oops")

    async def main():
        async with running(Clumsy()) as daemon:
            await daemon.close()
            assert (daemon.status, daemon.exit_code) == ("closed", 70)

    run_async(main())


@pytest.mark.expect_log("task stubborn does not end")
def test_a_task_that_will_not_end_is_named_and_left(monkeypatch):
    monkeypatch.setattr(module, "_CANCEL_S", 0.05)

    async def main():
        async def stubborn():
            for _ in range(3):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.1)

        async with running() as daemon:
            task = daemon.own(stubborn(), name="stubborn")
            await asyncio.sleep(0)
            await asyncio.wait_for(daemon.close(), 2)
            await asyncio.wait([task])

    run_async(main())


def test_a_peer_that_reads_nothing_does_not_hold_up_the_close(monkeypatch):
    monkeypatch.setattr(module, "_FLUSH_S", 0.05)

    async def main():
        async with running() as daemon:
            connection = await connect(daemon.address, secret=SECRET)
            connection.send(*[Request("make", {"size": 10_000_000}) for _ in range(10)])
            await until(lambda: any(c.pending_bytes for c in daemon._connections))
            await asyncio.wait_for(daemon.close(), 2)
            connection.abort()

    run_async(main())


def test_life_is_logged_at_info(caplog):
    async def main():
        with caplog.at_level(logging.INFO):
            async with running() as daemon:
                await rpc(daemon.address, secret=SECRET).terminate()
                await daemon.finished()
        assert "Answerer was told to terminate" in caplog.text

    run_async(main())


class Swallowing(Answerer):
    @operation
    async def swallow(self, data: Buffer) -> int:
        return len(data)


def test_what_a_peer_sent_last_is_not_kept_until_it_speaks_again():
    nbytes = 200_000_000

    async def main():
        async with running(Swallowing()) as daemon:
            pool = ConnectionPool(SECRET)
            try:
                data = Buffer(bytes(nbytes))
                before = resident_bytes()
                assert await pool.request(daemon.address, "swallow", data=data) == nbytes
                await until(lambda: resident_bytes() < before + nbytes / 4, what="the request's memory to be free")
            finally:
                await pool.close()

    run_async(main())
