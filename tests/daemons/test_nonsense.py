"""What peers send that they should not: an error reply or the door, one log line, nobody else harmed."""

import asyncio
import contextlib
import re

import msgspec
import pytest

from distributed.comm import connect
from distributed.errors import CommError, ConnectionLostError
from distributed.messages import Goodbye, Reply, Request
from distributed.payloads import Buffer
from distributed.pool import ConnectionPool
from distributed.wire.failure import load_error
from distributed.wire.frames import HEAD, Encoder, encode_batch, join
from tests.aio import run_async, until
from tests.daemons.linkbed import SECRET, Stranger, running, write_raw


@contextlib.asynccontextmanager
async def guest():
    """A daemon, a proved connection to it, and a neighbour that must not notice anything."""
    async with running() as daemon:
        pool = ConnectionPool(SECRET)
        neighbour = asyncio.ensure_future(pool.request(daemon.address, "sleep", seconds=0.2))
        connection = await connect(daemon.address, secret=SECRET, role="guest")
        yield daemon, connection
        await connection.close()
        assert await neighbour == "awake"
        await pool.close()


async def send_raw(connection, data):
    with contextlib.suppress(Exception):
        await write_raw(connection, data)


async def ask(connection, *requests):
    connection.send(*requests)
    return await asyncio.wait_for(connection.read(), 5)


async def error_of(connection):
    [reply] = await asyncio.wait_for(connection.read(), 5)
    assert isinstance(reply, Reply)
    return load_error(reply.error)


def frame(body):
    return HEAD.pack(1, len(body)) + body


# -- strangers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "the peer speaks HTTP"),
        (b"POST /jobs HTTP/1.1\r\nContent-Length: 999999\r\n\r\n" + b"x" * 100_000, "the peer speaks HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), "the peer speaks TLS"),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", "the peer speaks SSH"),
        (bytes(range(100, 200)), r"the peer sent b'defghijk', which is not a dlaunch hello"),
        (b"\xff" * 8, "not a dlaunch hello"),
        (b"\r\n\r\n\r\n\r\n", "not a dlaunch hello"),
    ],
    ids=["HTTP", "HTTP with a body", "TLS", "SSH", "bytes", "ones", "line ends"],
)
def test_strangers_on_the_port_are_one_line_with_their_address(data, words, expect_log, caplog):
    expect_log(words)

    async def main():
        async with running() as daemon:
            stranger = await Stranger.meet(daemon)
            await stranger.say(data)
            assert await stranger.hear() == b""
            assert daemon.status == "running"
            return stranger.address

    address = run_async(main())
    [record] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert re.fullmatch(rf"refused {address}: .*{words}", record.getMessage())


# -- frames --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (HEAD.pack(10**9, 10), "batch of 1000000000 frames, the limit is 65536"),
        (HEAD.pack(0, 10), "batch of 0 frames"),
        (HEAD.pack(1, 2**63), "batch of 9223372036854775808 bytes, the limit is"),
        (HEAD.pack(3, 5) + (2**62).to_bytes(8, "little") * 2, r"batch of \d+ bytes, the limit is"),
        (b"\xff" * 1_000_000, "frames, the limit is"),
        (b"GET / HTTP/1.1\r\n\r\n", "frames, the limit is"),
    ],
    ids=["10^9 frames", "no frames", "2^63 bytes", "2^63 together", "a flood of ones", "HTTP"],
)
def test_impossible_frames_cost_the_peer_its_connection_and_it_is_told_why(data, words, expect_log):
    expect_log(rf"guest \S+ pid \d+ \(127.0.0.1:\d+\) sent nonsense and is disconnected: .*{words}")

    async def main():
        async with guest() as (_, connection):
            writing = asyncio.ensure_future(send_raw(connection, data))
            assert re.search(words, str(await error_of(connection)))
            with pytest.raises(CommError):
                await asyncio.wait_for(connection.read(), 5)
            await writing

    run_async(main())


@pytest.mark.parametrize("cut", [0, 1, 6, 11, 12, 20, -1])
def test_half_a_frame_then_the_end_is_no_warning(cut):
    async def main():
        async with guest() as (daemon, connection):
            await send_raw(connection, b"".join(encode_batch([Request("ping")]))[:cut])
            connection.abort()
            await until(lambda: len(daemon._connections) == 1)

    run_async(main())


# -- messages ------------------------------------------------------------------------------------------------

NONSENSE = {
    "not msgpack": b"\xc1\xc1",
    "empty": b"",
    "not a list": b"\x81\xa2op\xa8identity",
    "text": msgspec.msgpack.encode(["identity"]),
    "no op": msgspec.msgpack.encode([[1]]),
    "op is a number": msgspec.msgpack.encode([[1, 5, {}, 1]]),
    "op is bytes": msgspec.msgpack.encode([[1, b"ping", {}, 1]]),
    "op is null": msgspec.msgpack.encode([[1, None, {}, 1]]),
    "kwargs is a list": msgspec.msgpack.encode([[1, "ping", [], 1]]),
    "unknown tag": msgspec.msgpack.encode([[999, "ping"]]),
    "deep": b"\x91\x94\x01\xa4echo\x81\xa5value" + b"\x91" * 1_000_000 + b"\x01\x01",
    "unhashable key": b"\x91\x94\x01\xa4echo\x81\xa5value\x81\x91\x80\x01\x01",
    "no such frame": b"\x91\x94\x01\xa4echo\x81\xa5value\xd6\x01\x05\x00\x00\x00\x01",
}


@pytest.mark.expect_log("guest .* sent nonsense: not a valid message")
@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_in_a_frame_gets_an_error_reply_and_the_connection_stays(name):
    async def main():
        async with guest() as (_, connection):
            await send_raw(connection, frame(NONSENSE[name]))
            assert "not a valid message" in str(await error_of(connection))
            [reply] = await ask(connection, Request("ping", {}, 7))
            assert (reply.id, reply.result) == (7, "pong")

    run_async(main())


@pytest.mark.expect_log("guest .* sent nonsense: Goodbye does not belong on this connection")
def test_a_message_that_belongs_elsewhere_gets_an_error_reply():
    async def main():
        async with guest() as (_, connection):
            connection.send(Goodbye("x"))
            assert "Goodbye does not belong on this connection" in str(await error_of(connection))
            assert (await ask(connection, Request("ping")))[0].result == "pong"

    run_async(main())


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request("no_such"), "a Answerer has no operation 'no_such' here; it has: add, "),
        (Request(""), "has no operation ''"),
        (Request("__init__"), "has no operation '__init__'"),
        (Request("close"), "has no operation 'close'"),
        (Request("x" * 1_000_000), "has no operation 'xxx"),
        (Request("add"), "operation add: Object missing required field `one`"),
        (Request("add", {"one": "1"}), r"operation add: Expected `int`, got `str` - at `\$.one`"),
        (Request("add", {"one": 1, "three": 3}), "operation add: .*unknown field `three`"),
        (Request("add", {"one": 1, "self": 3}), "unknown field `self`"),
        (Request("measure", {"data": b"small"}), "operation measure: "),
        (Request("identity", {"x": 1}), "operation identity: .*unknown field `x`"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_requests_get_an_error_that_names_what_is_wrong(request_, words):
    async def main():
        async with guest() as (_, connection):
            [reply] = await ask(connection, msgspec.structs.replace(request_, id=5))
            assert reply.id == 5
            error = load_error(reply.error)
            assert isinstance(error, TypeError)
            assert re.search(words, str(error))
            assert len(str(error)) < 1000
            assert (await ask(connection, Request("ping")))[0].result == "pong"

    run_async(main())


def test_operations_may_be_spelt_with_hyphens():
    async def main():
        async with guest() as (_, connection):
            [reply] = await ask(connection, Request("un-encodable"))
            assert reply.error is not None
            [reply] = await ask(connection, Request("no-such"))
            assert "no operation 'no-such'" in reply.error.message

    run_async(main())


def test_wrong_arguments_of_a_stream_operation_get_an_error_and_the_door():
    async def main():
        async with guest() as (daemon, connection):
            [reply] = await ask(connection, Request("collect", {"number": "many"}, 3))
            assert reply.id == 3
            assert "operation collect: Expected `int`" in reply.error.message
            with pytest.raises(ConnectionLostError):
                await connection.read()
            assert daemon.status == "running"

    run_async(main())


def test_deep_arguments_within_bounds_come_back():
    async def main():
        async with guest() as (_, connection):
            value = []
            for _ in range(100):
                value = [value]
            [reply] = await ask(connection, Request("echo", {"value": value}))
            assert reply.result == value

    run_async(main())


class UnpicklableError(Exception):
    def __reduce__(self):
        raise RuntimeError("no")


class Quiet(BaseException):
    pass


def endless(n=0):
    return endless(n + 1)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError("x"), "ValueError"),
        (UnpicklableError("x"), "UnpicklableError"),
        (ValueError("x" * 10_000_000), "ValueError"),
        (Quiet("x"), "Quiet"),
        (SystemExit(3), "SystemExit"),
        (RecursionError("too deep"), "RecursionError"),
        (MemoryError(), "MemoryError"),
        (asyncio.CancelledError(), "CancelledError"),
        (StopAsyncIteration(), "StopAsyncIteration"),
        (CommError("gone", address="a:1"), "CommError"),
        (ValueError("bad \udcff name"), "ValueError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_an_operation_raises_is_its_answer(error, name):
    async def main():
        async with guest() as (daemon, connection):
            daemon.raises = error
            [reply] = await ask(connection, Request("fail", {}, 9))
            assert reply.id == 9
            assert reply.error.type_name.rpartition(".")[2] == name
            assert len(reply.error.message) < 30_000
            assert (await ask(connection, Request("ping")))[0].result == "pong"
            assert daemon.status == "running"

    run_async(main())


def test_a_result_that_cannot_be_encoded_is_an_error_reply():
    async def main():
        async with guest() as (_, connection):
            [reply] = await ask(connection, Request("unencodable", {}, 4))
            assert reply.id == 4
            assert reply.error.type_name == "distributed.errors.LocalProtocolError"

    run_async(main())


def test_a_message_of_200_megabytes_goes_both_ways():
    async def main():
        async with guest() as (_, connection):
            [reply] = await ask(connection, Request("measure", {"data": Buffer(bytes(200_000_000))}))
            assert reply.result == 200_000_000
            [reply] = await ask(connection, Request("make", {"size": 200_000_000}))
            assert len(reply.result) == 200_000_000

    run_async(main())


def test_a_peer_that_asks_and_never_reads_is_not_answered_without_bound():
    async def main():
        async with guest() as (daemon, connection):
            connection.send(*[Request("make", {"size": 1_000_000}) for _ in range(1000)])
            await until(lambda: any(c.pending_bytes > 4_000_000 for c in daemon._connections))
            await asyncio.sleep(0.1)
            assert max(c.pending_bytes for c in daemon._connections) < 10_000_000

    run_async(main())


@pytest.mark.expect_log("guest .* sent nonsense: not a valid message")
def test_a_peer_that_sends_nonsense_and_never_reads_is_not_answered_without_bound():
    async def main():
        async with guest() as (daemon, connection):
            flood = asyncio.ensure_future(send_raw(connection, frame(NONSENSE["text"]) * 300_000))
            await until(lambda: any(c.pending_bytes > 4_000_000 for c in daemon._connections), timeout_s=15)
            await asyncio.sleep(0.1)
            assert max(c.pending_bytes for c in daemon._connections) < 5_000_000
            connection.abort()
            await flood

    run_async(main(), timeout_s=40)


def test_requests_of_one_batch_are_answered_in_order():
    async def main():
        async with guest() as (_, connection):
            connection.send(*[Request("echo", {"value": i}, i) for i in range(500)])
            got = []
            while len(got) < 500:
                got += await connection.read()
            assert [(reply.id, reply.result) for reply in got] == [(i, i) for i in range(500)]

    run_async(main())


@pytest.mark.expect_log("bug in serving guest .*, ending")
def test_a_bug_in_a_stream_operation_ends_the_daemon():
    async def main():
        async with running() as daemon:
            connection = await connect(daemon.address, secret=SECRET, role="guest")
            connection.send(Request("crash"))
            await asyncio.wait_for(daemon.finished(), 5)
            assert daemon.exit_code == 70
            await connection.close()

    run_async(main())


def test_what_comes_behind_a_stream_operation_in_one_batch_is_not_lost():
    async def main():
        async with guest() as (daemon, connection):
            encoder = Encoder()
            pieces = join([encoder.encode([Request("collect", {"number": 3}, 1), Goodbye("1"), Goodbye("2")])])
            await send_raw(connection, b"".join(pieces))
            connection.send(Goodbye("3"))
            got = []
            while len(got) < 2:
                got += await asyncio.wait_for(connection.read(), 5)
            assert [reply.result for reply in got] == ["OK", 3]
            assert daemon.streams == [[Goodbye("1"), Goodbye("2"), Goodbye("3")]]

    run_async(main())
