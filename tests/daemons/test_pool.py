import asyncio
import gc
import threading

import pytest

from distributed.comm import connect
from distributed.errors import (
    AuthenticationError,
    CommError,
    ConnectionClosedError,
    ConnectionLostError,
    LocalProtocolError,
    RemoteError,
    RemoteProtocolError,
    RequestTimeoutError,
)
from distributed.messages import Goodbye
from distributed.payloads import Buffer
from distributed.pool import ConnectionPool, rpc
from distributed.wire.failure import RemoteTraceback
from tests.aio import run_async, until
from tests.daemons.linkbed import OTHER_SECRET, SECRET, Answerer, running


def with_pool(test, **options):
    async def main():
        async with running() as daemon:
            pool = ConnectionPool(SECRET, **options)
            try:
                await test(daemon, pool)
            finally:
                await pool.close()

    run_async(main())


def test_requests_reuse_one_connection_after_the_other():
    async def test(daemon, pool):
        for i in range(20):
            assert await pool.request(daemon.address, "add", one=i) == i + 1
        assert len(daemon._connections) == 1

    with_pool(test)


def test_a_hundred_requests_at_once():
    async def test(daemon, pool):
        calls = [pool.request(daemon.address, "echo", value=i) for i in range(100)]
        assert await asyncio.gather(*calls) == list(range(100))

    with_pool(test)


def test_the_limit_bounds_the_connections_and_the_rest_wait():
    async def test(daemon, pool):
        calls = [asyncio.ensure_future(pool.request(daemon.address, "sleep", seconds=0.01)) for _ in range(20)]
        most = 0
        while not all(call.done() for call in calls):
            most = max(most, len(daemon._connections))
            await asyncio.sleep(0)
        assert await asyncio.gather(*calls) == ["awake"] * 20
        assert most <= 3

    with_pool(test, limit=3)


def test_idle_connections_to_others_make_room():
    async def test(daemon, pool):
        async with running() as second, running() as third:
            for one in (daemon, second, third, daemon, second):
                assert await pool.request(one.address, "ping") == "pong"
            await until(lambda: sum(len(d._connections) for d in (daemon, second, third)) <= 2)

    with_pool(test, limit=2)


def test_remote_errors_are_raised_with_their_type_and_remote_traceback():
    async def test(daemon, pool):
        daemon.raises = ValueError("bad thing")
        with pytest.raises(ValueError, match="bad thing") as caught:
            await pool.request(daemon.address, "fail")
        assert isinstance(caught.value.__cause__, RemoteTraceback)
        assert "raise self.raises" in str(caught.value.__cause__)
        assert await pool.request(daemon.address, "ping") == "pong"
        assert len(daemon._connections) == 1

    with_pool(test)


def test_without_unpickling_a_remote_error_is_told_by_its_text():
    async def test(daemon, pool):
        daemon.raises = ValueError("bad thing")
        with pytest.raises(RemoteError, match="ValueError: bad thing"):
            await pool.request(daemon.address, "fail")

    with_pool(test, unpickle=False)


def test_a_timeout_of_the_operations_own_is_its_answer():
    async def test(daemon, pool):
        daemon.raises = TimeoutError("the disk did not answer")
        for timeout_s in (None, 5.0):
            with pytest.raises(TimeoutError, match="the disk did not answer"):
                await pool.request(daemon.address, "fail", timeout_s=timeout_s)

    with_pool(test)


def test_a_request_that_takes_too_long_is_given_up_and_its_connection_not_used_again():
    async def test(daemon, pool):
        with pytest.raises(RequestTimeoutError, match=r"did not answer sleep within 0.05 s"):
            await pool.request(daemon.address, "sleep", timeout_s=0.05)
        assert await pool.request(daemon.address, "echo", value=1) == 1
        assert await pool.request(daemon.address, "echo", value=2) == 2

    with_pool(test)


def test_a_cancelled_request_does_not_leave_its_reply_to_the_next():
    async def test(daemon, pool):
        call = asyncio.ensure_future(pool.request(daemon.address, "sleep", seconds=0.05))
        await until(lambda: daemon.started)
        call.cancel()
        await asyncio.wait([call])
        for i in range(10):
            assert await pool.request(daemon.address, "echo", value=i) == i

    with_pool(test)


def test_the_time_spent_waiting_for_a_free_connection_counts():
    async def test(daemon, pool):
        blocker = asyncio.ensure_future(pool.request(daemon.address, "sleep"))
        await until(lambda: daemon.started)
        with pytest.raises(RequestTimeoutError):
            await pool.request(daemon.address, "ping", timeout_s=0.05)
        blocker.cancel()
        await asyncio.wait([blocker])
        assert await pool.request(daemon.address, "ping", timeout_s=5.0) == "pong"

    with_pool(test, limit=1)


def test_a_peer_that_dies_in_the_middle_is_a_lost_connection():
    async def test(daemon, pool):
        call = asyncio.ensure_future(pool.request(daemon.address, "sleep"))
        await until(lambda: daemon.started)
        for connection in daemon._connections:
            connection.abort()
        with pytest.raises(ConnectionLostError, match="lost the connection"):
            await asyncio.wait_for(call, 5)

    with_pool(test)


def test_a_daemon_started_again_at_the_same_address_is_found():
    async def test(daemon, pool):
        assert await pool.request(daemon.address, "ping") == "pong"
        port = daemon.port
        await daemon.close()
        with pytest.raises(CommError):
            await pool.request(f"127.0.0.1:{port}", "ping")
        again = Answerer()
        await again.start(port)
        assert await pool.request(again.address, "ping") == "pong"
        await again.close()

    with_pool(test)


def test_closing_fails_what_is_under_way_and_what_comes():
    async def test(daemon, pool):
        under_way = asyncio.ensure_future(pool.request(daemon.address, "sleep"))
        waiting = asyncio.ensure_future(pool.request(daemon.address, "ping"))
        await until(lambda: daemon.started)
        await pool.close()
        await pool.close()
        for call in (under_way, waiting, asyncio.ensure_future(pool.request(daemon.address, "ping"))):
            with pytest.raises(ConnectionClosedError):
                await asyncio.wait_for(call, 5)

    with_pool(test, limit=1)


def test_closing_while_it_connects_serves_nothing_any_more(monkeypatch):
    async def test(daemon, pool):
        connected, go_on = asyncio.Event(), asyncio.Event()

        async def slow_connect(*args, **kwargs):
            connection = await connect(*args, **kwargs)
            connected.set()
            await go_on.wait()
            return connection

        monkeypatch.setattr("distributed.pool.connect", slow_connect)
        call = asyncio.ensure_future(pool.request(daemon.address, "sleep", seconds=0.0))
        await connected.wait()
        await pool.close()
        go_on.set()
        with pytest.raises(ConnectionClosedError, match="this side is closing"):
            await asyncio.wait_for(call, 5)
        assert daemon.started == []
        await until(lambda: not daemon._connections)

    with_pool(test)


def test_arguments_that_cannot_be_encoded_raise_here():
    async def test(daemon, pool):
        for value in (object(), 2**70, "\ud800"):
            with pytest.raises(LocalProtocolError):
                await pool.request(daemon.address, "echo", value=value)
        assert await pool.request(daemon.address, "echo", value=5) == 5

    with_pool(test)


def test_results_that_cannot_be_encoded_are_an_error_not_a_silence():
    async def test(daemon, pool):
        with pytest.raises(LocalProtocolError, match="cannot hold a object"):
            await asyncio.wait_for(pool.request(daemon.address, "unencodable"), 5)
        assert await pool.request(daemon.address, "ping") == "pong"

    with_pool(test)


def test_something_that_is_no_reply_is_an_error():
    async def test(daemon, pool):
        daemon.reply = lambda connection, reply: connection.send(Goodbye("?"))
        with pytest.raises(RemoteProtocolError, match="is no reply"):
            await pool.request(daemon.address, "ping")

    with_pool(test)


def test_forgotten_addresses_are_connected_anew():
    async def test(daemon, pool):
        await pool.request(daemon.address, "ping")
        pool.forget(daemon.address)
        pool.forget("10.9.9.9:1")
        await until(lambda: not daemon._connections)
        assert await pool.request(daemon.address, "ping") == "pong"

    with_pool(test)


def test_operations_with_arguments_named_like_ours():
    async def test(daemon, pool):
        with pytest.raises(TypeError, match="unknown field `timeout_s`"):
            await pool.request_with(daemon.address, "echo", {"timeout_s": 1})

    with_pool(test)


# -- rpc -----------------------------------------------------------------------------------------------------


def test_rpc_inside_a_loop_starts_at_once_and_is_awaited():
    async def main():
        async with running() as daemon, rpc(daemon.address, secret=SECRET) as proxy:
            call = proxy.echo(value=1)
            assert await proxy.add(one=1, two=2) == 3
            assert await call == 1
            assert await proxy.identity() == await daemon.identity()
            assert repr(proxy) == f"<rpc {daemon.address}>"
            with pytest.raises(TypeError, match="has no operation 'no_such'"):
                await proxy.no_such()

    run_async(main())


def test_rpc_outside_a_loop_returns_the_result():
    async def main():
        async with running() as daemon:
            proxy = rpc(("127.0.0.1", daemon.port), secret=SECRET)
            in_thread = asyncio.get_running_loop().run_in_executor
            assert await in_thread(None, lambda: proxy.add(one=1)) == 2
            assert await in_thread(None, lambda: proxy.add(one=2)) == 3
            daemon.raises = ValueError("x")
            with pytest.raises(ValueError, match="x"):
                await in_thread(None, proxy.fail)

    run_async(main())


def test_rpc_outlives_its_loop():
    proxies = []

    async def main():
        async with running() as daemon:
            proxy = rpc(daemon.address, secret=SECRET) if not proxies else proxies[0]
            proxies[:] = [proxy]
            proxy._address = daemon.address
            assert await proxy.ping() == "pong"
            await until(lambda: daemon._connections)

    asyncio.run(main())
    asyncio.run(main())
    proxies.clear()
    gc.collect()


def test_a_dropped_rpc_closes_its_connections():
    async def main():
        async with running() as daemon:
            assert await rpc(daemon.address, secret=SECRET).ping() == "pong"
            gc.collect()
            await until(lambda: not daemon._connections)

    run_async(main())


@pytest.mark.expect_log("holds another cluster secret")
def test_rpc_with_another_secret_is_refused():
    async def main():
        async with running() as daemon:
            with pytest.raises(AuthenticationError, match="the secrets differ"):
                await rpc(daemon.address, secret=OTHER_SECRET).ping()

    run_async(main())


def test_rpc_without_a_secret_uses_the_users_own():
    async def main():
        daemon = Answerer(secret=None)
        async with running(daemon):
            assert await rpc(daemon.address).ping() == "pong"

    run_async(main())


def test_attributes_that_python_asks_for_are_no_operations():
    with pytest.raises(AttributeError):
        rpc("127.0.0.1:1", secret=SECRET)._repr_html_  # noqa: B018


def test_rpc_buffers_both_ways():
    async def main():
        async with running() as daemon, rpc(daemon.address, secret=SECRET) as proxy:
            assert await proxy.measure(data=Buffer(bytes(300_000))) == 300_000
            assert len(await proxy.make(size=300_000)) == 300_000

    run_async(main())


def test_threads_share_an_rpc_without_a_loop():
    async def main():
        async with running() as daemon:
            proxy = rpc(daemon.address, secret=SECRET)
            found = []
            threads = [threading.Thread(target=lambda i=i: found.append(proxy.echo(value=i))) for i in range(5)]
            for thread in threads:
                thread.start()
            await until(lambda: len(found) == 5)
            for thread in threads:
                thread.join()
            assert sorted(found) == list(range(5))

    run_async(main())
