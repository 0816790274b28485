import asyncio
import socket

import pytest

from distributed import comm
from distributed.comm import connect
from distributed.errors import AuthenticationError, CommError, ConnectionLostError
from tests.aio import run_async
from tests.daemons.linkbed import SECRET, running


def attempt(address, **options):
    async def main():
        return await connect(address, secret=SECRET, **options)

    return run_async(main())


@pytest.fixture
def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "is not an address"),
        ("127.0.0.1", "is not an address"),
        ("127.0.0.1:", "is not an address"),
        ("127.0.0.1:0", "is not an address"),
        ("127.0.0.1:99999", "is not an address"),
        ("127.0.0.1:http", "is not an address"),
        ("tcp://127.0.0.1:1", "is not an address"),
        ("no-such-host.invalid:8786", "cannot be resolved"),
        ("x..y:8786", "cannot be resolved"),
        ("a" * 300 + ":8786", "cannot be resolved"),
    ],
)
def test_an_address_that_is_none_says_connect_and_the_address(address, words):
    with pytest.raises(CommError, match=words) as caught:
        attempt(address)
    assert f"cannot connect to {address}" in str(caught.value)
    assert caught.value.address == address


def test_nothing_listening(free_port):
    with pytest.raises(
        CommError, match=f"cannot connect to 127.0.0.1:{free_port}: connection refused, nothing listens"
    ):
        attempt(f"127.0.0.1:{free_port}")


def test_nobody_answering_within_the_time():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(CommError, match=r"cannot connect to .* no answer within 0.1 s"):
            attempt(address, timeout_s=0.1)


def answering(reply):
    async def main():
        async def serve(reader, writer):
            writer.write(reply)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            await connect(address, secret=SECRET, timeout_s=2)
        finally:
            server.close()
            await server.wait_closed()

    return run_async(main())


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the peer speaks HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the peer speaks SSH"),
        (b"\x15\x03\x03\x00\x02\x02\x32...", "the peer speaks TLS"),
        (b"220 mail.example.org ESMTP\r\n", "not a dlaunch hello"),
        (b"dlaunch\x07", "the peer speaks protocol version 7, this side version 1"),
    ],
)
def test_something_else_listening_is_named(reply, words):
    with pytest.raises(AuthenticationError, match=rf"cannot connect to 127.0.0.1:\d+: .*{words}"):
        answering(reply)


@pytest.mark.parametrize("reply", [b"", b"dla", b"dlaunch\x01" + bytes(20)])
def test_somebody_who_hangs_up_is_told(reply):
    with pytest.raises(CommError, match=r"cannot connect to .*something else listening there"):
        answering(reply)


def test_both_sides_know_each_other(monkeypatch):
    async def main():
        async with running() as daemon:
            connection = await connect(daemon.address, secret=SECRET, role="tester")
            assert connection.peer == connection.peer_address == daemon.address
            [theirs] = daemon._connections
            assert theirs.peer.startswith("tester ")
            assert theirs.peer.endswith(f"({connection.local_address})")
            await connection.close()

    run_async(main())


def test_ipv6_addresses():
    async def main():
        async with running(host="::1") as daemon:
            assert daemon.address == f"[::1]:{daemon.port}"
            connection = await connect(daemon.address, secret=SECRET)
            assert connection.peer_address == daemon.address
            await connection.close()

    run_async(main())


def test_host_names_are_resolved():
    async def main():
        async with running() as daemon:
            connection = await connect(f"localhost:{daemon.port}", secret=SECRET)
            await connection.close()

    run_async(main())


def test_numbers_need_no_thread(monkeypatch):
    async def main():
        async with running() as daemon:
            monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", lambda *a: pytest.fail("thread"))
            connection = await connect(daemon.address, secret=SECRET)
            await connection.close()

    run_async(main())


def test_an_empty_secret_is_refused_before_anything_is_sent():
    async def main():
        async with running() as daemon:
            with pytest.raises(CommError, match=r"cannot connect to .* empty secret"):
                await connect(daemon.address, secret=b"")

    run_async(main())


def test_sockets_are_tuned_to_notice_vanished_hosts():
    async def main():
        async with running() as daemon:
            connection = await connect(daemon.address, secret=SECRET)
            ends = [connection, *daemon._connections]
            assert len(ends) == 2
            for end in ends:
                sock = end._sock
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 20
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 300_000
            await connection.close()

    run_async(main())


def test_a_connect_given_up_leaves_no_socket_behind():
    async def main():
        async with running() as daemon:
            for _ in range(20):
                task = asyncio.ensure_future(connect(daemon.address, secret=SECRET))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])

    run_async(main())


def test_a_peer_that_leaves_during_the_proof_is_no_refusal():
    async def main():
        left, right = socket.socketpair()
        left.setblocking(False)
        right.close()
        with pytest.raises(ConnectionLostError, match="left before it proved"):
            await comm.accept(left, SECRET)

    run_async(main())
