"""Who is let in: nobody, and nothing of theirs is read, before the proof."""

import asyncio
import contextlib
import hashlib
import hmac
import pickle

import pytest

from distributed import comm
from distributed.comm import connect
from distributed.connection import Connection
from distributed.daemon import Daemon
from distributed.errors import AuthenticationError, CommError
from distributed.messages import Request
from distributed.pool import ConnectionPool
from distributed.wire import frames, handshake
from distributed.wire.frames import encode_batch
from tests.aio import run_async, until
from tests.daemons.linkbed import OTHER_SECRET, SECRET, Stranger, running

NONCE = b"n" * 32


@contextlib.asynccontextmanager
async def guarded():
    """A daemon that must serve its own peer after whatever the test did to it."""
    async with running() as daemon:
        pool = ConnectionPool(SECRET)
        assert await pool.request(daemon.address, "ping") == "pong"
        yield daemon
        assert await pool.request(daemon.address, "ping") == "pong"
        await pool.close()


def hello(version=1, who="stranger"):
    return b"dlaunch" + bytes([version]) + NONCE + who.encode().ljust(120, b"\0")


@pytest.fixture
def nothing_is_read(monkeypatch):
    """Record every attempt to decode, unpickle or serve something."""
    seen = []

    def forbid(owner, name):
        monkeypatch.setattr(owner, name, lambda *args, **kwargs: seen.append(name))

    def arm():
        forbid(pickle, "loads")
        forbid(pickle, "Unpickler")
        forbid(frames.Decoder, "decode")
        forbid(frames.Decoder, "__init__")
        forbid(Connection, "__init__")
        forbid(Daemon, "_serve")
        forbid(Daemon, "answer")

    yield arm, seen
    assert seen == []


ATTACK = b"".join(encode_batch([Request("terminate", {}, 1)])) * 10


@pytest.mark.expect_log("refused")
@pytest.mark.parametrize(
    "data",
    [
        ATTACK,
        hello() + ATTACK,
        hello() + b"\x01" + bytes(32) + ATTACK,
        hello() + b"\x00" + bytes(32) + ATTACK,
        hello(version=9) + ATTACK,
        pickle.dumps(print),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["at once", "after the hello", "with a false proof", "with a refusal", "another version", "pickle", "HTTP"],
)
def test_nothing_is_unpickled_decoded_or_served_before_the_proof(data, nothing_is_read):
    arm, _ = nothing_is_read

    async def main():
        async with running() as daemon:
            arm()
            stranger = await Stranger.meet(daemon)
            await stranger.say(data)
            await stranger.hear()
            assert daemon.status == "running"

    run_async(main())


@pytest.mark.expect_log(r"^refused client \S+@\S+ pid \d+ \(127.0.0.1:\d+\): it holds another cluster secret$")
def test_a_wrong_secret_is_a_clear_error_on_both_sides(caplog):
    async def main():
        async with guarded() as daemon:
            with pytest.raises(
                AuthenticationError, match=r"cannot connect to .*\(the secrets differ\).*--cluster"
            ) as caught:
                await connect(daemon.address, secret=OTHER_SECRET)
            assert caught.value.address == daemon.address

    run_async(main())
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    for secret in (SECRET, OTHER_SECRET):
        assert secret.decode() not in caplog.text
        assert secret.hex() not in caplog.text


@pytest.mark.expect_log("holds another cluster secret")
def test_a_replayed_meeting_is_refused():
    async def main():
        async with guarded() as daemon:
            recorded = []

            async def relay(reader, writer):
                theirs = await asyncio.open_connection("127.0.0.1", daemon.port)

                async def copy(source, sink, record):
                    with contextlib.suppress(ConnectionError):
                        while data := await source.read(65536):
                            recorded.append(data) if record else None
                            sink.write(data)
                    sink.close()

                await asyncio.gather(copy(reader, theirs[1], True), copy(theirs[0], writer, False))

            proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
            connection = await connect(f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}", secret=SECRET)
            connection.send(Request("ping"))
            await connection.read()
            await connection.close()
            proxy.close()
            await proxy.wait_closed()
            said = b"".join(recorded)
            assert len(said) > handshake.HELLO_SIZE + handshake.ANSWER_SIZE
            stranger = await Stranger.meet(daemon)
            await stranger.say(said)
            heard = await stranger.hear()
            assert heard[handshake.CHALLENGE_SIZE :] in (handshake.REFUSED, b"")

    run_async(main())


@pytest.mark.expect_log("holds another cluster secret")
def test_a_proof_reflected_from_another_meeting_is_refused():
    """A stranger has the daemon itself compute proofs, and offers them as its own."""

    async def main():
        async with guarded() as daemon:
            one, two = await Stranger.meet(daemon), await Stranger.meet(daemon)
            await one.say(hello())
            challenge = await one.reader.readexactly(handshake.CHALLENGE_SIZE)
            await two.say(b"dlaunch\x01" + challenge[8:40] + bytes(120))
            reflected = await two.reader.readexactly(handshake.CHALLENGE_SIZE)
            await one.say(b"\x01" + reflected[40:])
            assert await one.hear() == handshake.REFUSED
            await two.say(b"\x01" + challenge[40:])
            assert await two.hear() == handshake.REFUSED

    run_async(main())


@pytest.mark.expect_log("holds another cluster secret")
def test_a_proof_made_with_no_secret_is_refused():
    async def main():
        async with guarded() as daemon:
            stranger = await Stranger.meet(daemon)
            await stranger.say(hello())
            challenge = await stranger.reader.readexactly(handshake.CHALLENGE_SIZE)
            proof = hmac.new(b"", b"dlaunch connector" + hello() + challenge[8:40], hashlib.sha256).digest()
            await stranger.say(b"\x01" + proof)
            assert await stranger.hear() == handshake.REFUSED

    run_async(main())


@pytest.mark.expect_log("refused 127.0.0.1:.*: the peer speaks protocol version 9, this side version 1: use the same")
@pytest.mark.parametrize("size", [8, 40, handshake.HELLO_SIZE, 5000], ids=str)
def test_a_peer_of_another_version_hears_which_this_is_whatever_its_hello_looks_like(size):
    async def main():
        async with guarded() as daemon:
            stranger = await Stranger.meet(daemon)
            await stranger.say(b"dlaunch\x09" + b"?" * (size - 8))
            heard = await asyncio.wait_for(stranger.reader.readexactly(8), 2)
            assert heard == b"dlaunch\x01"
            await stranger.leave()

    run_async(main())


@pytest.mark.expect_log("the peer speaks protocol version 2, this side version 1")
def test_a_newer_connector_is_told_in_words(monkeypatch):
    async def main():
        async with guarded() as daemon:
            ours = handshake._PREFIX

            class Newer(handshake.Connector):
                def __init__(self, *args):
                    super().__init__(*args)
                    self.hello = b"dlaunch\x02" + self.hello[8:]

            def check(record):
                if record[7:8] != b"\x02":
                    raise AuthenticationError(f"the peer speaks protocol version {record[7]}, this side version 2")

            with monkeypatch.context() as patch:
                patch.setattr(handshake, "Connector", Newer)
                listening = handshake.check_prefix
                patch.setattr(handshake, "check_prefix", lambda r: check(r) if r == ours else listening(r))
                with pytest.raises(AuthenticationError, match=r"cannot connect .* version 1, this side version 2"):
                    await connect(daemon.address, secret=SECRET)

    run_async(main())


def test_a_daemon_without_a_secret_does_not_start():
    async def main():
        with pytest.raises(ValueError, match="empty secret"):
            Daemon(secret=b"")

    run_async(main())


@pytest.mark.expect_log("did not prove who it is within 0.2 s")
def test_strangers_that_say_nothing_are_shown_out_and_hold_up_nobody(monkeypatch):
    monkeypatch.setattr(comm, "HANDSHAKE_TIMEOUT_S", 0.2)

    async def main():
        async with guarded() as daemon:
            strangers = [await Stranger.meet(daemon) for _ in range(200)]
            pool = ConnectionPool(SECRET)
            assert await pool.request(daemon.address, "ping", timeout_s=5.0) == "pong"
            await pool.close()
            assert await asyncio.gather(*[stranger.hear() for stranger in strangers]) == [b""] * 200

    run_async(main())


@pytest.mark.expect_log("did not prove who it is within 0.2 s")
def test_a_stranger_that_dribbles_has_no_more_time(monkeypatch):
    monkeypatch.setattr(comm, "HANDSHAKE_TIMEOUT_S", 0.2)

    async def main():
        async with guarded() as daemon:
            stranger = await Stranger.meet(daemon)
            hearing = asyncio.ensure_future(stranger.hear())
            for byte in hello():
                await stranger.say(bytes([byte]))
                await asyncio.sleep(0.01)
                if hearing.done():
                    break
            assert await hearing == b""

    run_async(main())


def test_a_daemon_closes_while_strangers_are_in_the_middle_of_the_proof():
    async def main():
        async with running() as daemon:
            strangers = [await Stranger.meet(daemon) for _ in range(20)]
            for stranger in strangers[10:]:
                await stranger.say(hello())
                await stranger.reader.readexactly(handshake.CHALLENGE_SIZE)
            await asyncio.wait_for(daemon.close(), 2)
            for stranger in strangers:
                assert await stranger.hear() == b""

    run_async(main())


@pytest.mark.parametrize("data", [b"", b"d", b"dlaunch", b"dlaunch\x01", hello()[:100]], ids=len)
def test_somebody_who_leaves_in_the_middle_is_no_warning(data):
    async def main():
        async with guarded() as daemon:
            stranger = await Stranger.meet(daemon)
            await stranger.say(data, and_leave=True)
            await until(lambda: not [t for t in daemon._tasks if t.get_name() == f"peer {stranger.address}"])

    run_async(main())


def test_a_connector_tells_a_false_listener_nothing():
    """Whoever listens without the secret gets no proof that it could use elsewhere."""

    async def main():
        heard = []

        async def listen(reader, writer):
            heard.append(await reader.readexactly(handshake.HELLO_SIZE))
            writer.write(b"dlaunch\x01" + NONCE + bytes(32))
            heard.append(await reader.read(1000))
            writer.write(handshake.ACCEPTED)
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        with pytest.raises(CommError, match="another cluster"):
            await connect(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", secret=SECRET)
        assert heard[1] == b"\x00" + bytes(32)
        server.close()
        await server.wait_closed()

    run_async(main())
