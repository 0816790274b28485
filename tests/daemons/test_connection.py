import asyncio
import mmap
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from distributed.errors import (
    ConnectionClosedError,
    ConnectionLostError,
    LocalProtocolError,
    RemoteProtocolError,
)
from distributed.messages import Goodbye, KeyPending, Reply, Request
from distributed.payloads import Buffer
from distributed.sharing.memory import address_of
from distributed.wire import intake as module
from distributed.wire.frames import HEAD, Limits, encode_batch
from tests.aio import run_async, until
from tests.daemons.linkbed import pair, write_raw


async def read_all(end, number):
    got = []
    while len(got) < number:
        got += await end.read()
    return got


def numbered(number):
    return [KeyPending(str(i)) for i in range(number)]


def test_what_is_sent_in_one_turn_of_the_loop_travels_as_one_batch():
    async def main():
        async with pair() as (one, two):
            for message in numbered(100):
                one.send(message)
            assert one.pending == 100
            assert await two.read() == numbered(100)
            assert one.pending == one.pending_bytes == 0

    run_async(main())


def test_order_is_kept_over_batches_buffers_and_a_busy_socket():
    async def main():
        async with pair() as (one, two):
            sent = []
            for i in range(300):
                message = Reply(i, Buffer(bytes([i % 256]) * 100_000)) if i % 3 == 0 else KeyPending(str(i))
                sent.append(message)
                one.send(message)
            got = await read_all(two, 300)
            assert [getattr(m, "id", None) or getattr(m, "key", None) for m in got] == [
                getattr(m, "id", None) or getattr(m, "key", None) for m in sent
            ]
            assert all(
                bytes(g.result.data) == s.result.data for g, s in zip(got, sent, strict=True) if isinstance(s, Reply)
            )

    run_async(main())


def test_a_million_messages_in_the_outbox_take_linear_time():
    async def main():
        async with pair() as (one, two):
            messages = numbered(1000)
            times = []
            for total in (20, 200):
                start = time.process_time()
                for _ in range(total):
                    one.send(*messages)
                got = asyncio.ensure_future(read_all(two, total * 1000))
                await got
                times.append(time.process_time() - start)
            assert times[1] < 40 * times[0]

    run_async(main())


def test_batches_are_cut_so_that_none_is_large():
    async def main():
        async with pair() as (one, two):
            one.send(*numbered(10_000))
            sizes = []
            while sum(sizes) < 10_000:
                sizes.append(len(await two.read()))
            assert max(sizes) <= 4096
            one.send(*[Goodbye("x" * 60_000) for _ in range(100)])
            one_batch = await two.read()
            assert len(one_batch) <= 4096
            one.send(*[Goodbye("x" * 60_000) for _ in range(50)])

    run_async(main())


def test_a_message_that_cannot_be_encoded_raises_and_takes_no_other_with_it():
    async def main():
        async with pair() as (one, two):
            one.send(Goodbye("before"))
            with pytest.raises(LocalProtocolError):
                one.send(Goodbye("with it"), Reply(1, object()))
            one.send(Goodbye("after"))
            assert [m.reason for m in await two.read()] == ["before", "after"]

    run_async(main())


def test_a_message_over_the_limit_of_a_batch_raises():
    async def main():
        async with pair(limits=Limits(batch_bytes=10_000)) as (one, two):
            with pytest.raises(LocalProtocolError, match=r"message of 2.... bytes, the limit is 10000"):
                one.send(Reply(1, Buffer(bytes(20_000))))
            one.send(Reply(1, Buffer(bytes(9000))))
            assert len((await two.read())[0].result) == 9000

    run_async(main())


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 2**25 - 1, 2**25, 2**25 + 1])
def test_buffers_of_any_size_arrive_whole_and_writable(size):
    async def main():
        async with pair() as (one, two):
            data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            one.send(Reply(1, Buffer(data)))
            [reply] = await two.read()
            assert memoryview(reply.result.data) == data
            if size > 65536:
                memoryview(reply.result.data)[0] = 7

    run_async(main())


@pytest.mark.parametrize("megabytes", [200, 3000])
def test_huge_messages_stream(megabytes):
    import psutil

    if psutil.virtual_memory().available < 4 * megabytes * 10**6:
        pytest.skip(f"needs {4 * megabytes} MB of free memory")

    async def main():
        async with pair() as (one, two):
            data = bytes(megabytes * 10**6)
            one.send(Reply(1, Buffer(data)))
            [reply] = await two.read()
            assert len(reply.result) == len(data)

    run_async(main(), timeout_s=50)


def test_a_slow_reader_is_waited_for_by_drain():
    async def main():
        async with pair() as (one, two):
            one.send(Reply(1, Buffer(bytes(20_000_000))))
            one.send(Goodbye("behind it"))
            drained = asyncio.ensure_future(one.drain())
            await asyncio.wait([drained], timeout=0.1)
            assert not drained.done()
            assert one.pending_bytes > 20_000_000
            assert len(await two.read()) == 1
            await drained
            assert one.pending_bytes == 0

    run_async(main())


def test_drain_to_a_mark_lets_go_early():
    async def main():
        async with pair() as (one, _):
            one.send(Reply(1, Buffer(bytes(5_000_000))))
            one.send(*numbered(10))
            await asyncio.wait_for(one.drain(10_000_000), 1)
            assert one.pending_bytes > 5_000_000

    run_async(main())


@pytest.mark.parametrize("who", [0, 1], ids=["our end", "the peer's end"])
def test_drain_ends_when_the_connection_does(who):
    async def main():
        async with pair() as ends:
            ends[0].send(Reply(1, Buffer(bytes(20_000_000))))
            waiting = [asyncio.ensure_future(ends[0].drain()) for _ in range(3)]
            await asyncio.sleep(0)
            ends[who].abort()
            await asyncio.wait_for(asyncio.gather(*waiting), 5)
            await until(lambda: ends[0].pending_bytes == 0)

    run_async(main())


@pytest.mark.expect_log("right does not read what it asked for: .* bytes wait for it; disconnected")
def test_a_peer_that_never_reads_is_dropped_at_the_limit():
    async def main():
        async with pair(outbox_limit=5_000_000) as (one, _):

            async def flood():
                for _ in range(100):
                    one.send(Goodbye("x" * 100_000))
                    await asyncio.sleep(0)

            with pytest.raises(ConnectionLostError, match="does not read"):
                await flood()
            assert one.closed
            await until(lambda: one.pending_bytes == 0)

    run_async(main())


def test_buffers_do_not_count_towards_the_limit_since_they_are_there_anyway():
    async def main():
        async with pair(outbox_limit=1_000_000) as (one, _):
            for i in range(5):
                one.send(Reply(i, Buffer(bytes(5_000_000))))
                await asyncio.sleep(0)
            assert not one.closed

    run_async(main())


def test_reading_says_who_closed():
    async def main():
        async with pair() as (one, two):
            waiting = asyncio.ensure_future(two.read())
            await asyncio.sleep(0)
            one.abort()
            with pytest.raises(ConnectionLostError, match="lost the connection"):
                await waiting
            for call in (one.read, two.read):
                with pytest.raises(ConnectionLostError if call == two.read else ConnectionClosedError):
                    await call()
            with pytest.raises(ConnectionClosedError):
                one.send(Goodbye(""))
            with pytest.raises(ConnectionLostError):
                two.send(Goodbye(""))

    run_async(main())


def test_closing_flushes_and_is_idempotent():
    async def main():
        async with pair() as (one, two):
            one.send(Goodbye("last words"), Reply(1, Buffer(bytes(3_000_000))))
            reading = asyncio.ensure_future(two.read())
            await one.close()
            await one.close()
            assert one.closed
            assert (await reading)[0] == Goodbye("last words")

    run_async(main())


def test_closing_towards_a_peer_that_does_not_read_gives_up():
    async def main():
        async with pair() as (one, _):
            one.send(Reply(1, Buffer(bytes(20_000_000))))
            await asyncio.wait_for(one.close(timeout_s=0.05), 2)
            assert one.closed

    run_async(main())


def test_messages_read_too_early_can_be_put_back():
    async def main():
        async with pair() as (one, two):
            one.send(*numbered(3))
            batch = await two.read()
            one.send(Goodbye("later"))
            two.unread(batch[1:])
            assert await two.read() == batch[1:]
            assert await two.read() == [Goodbye("later")]
            two.unread([])
            one.send(Goodbye("end"))
            assert await two.read() == [Goodbye("end")]

    run_async(main())


async def raw(end, data):
    await write_raw(end, data)


def frame(body):
    return HEAD.pack(1, len(body)) + body


def test_nonsense_in_a_sound_frame_spoils_only_its_batch():
    async def main():
        async with pair() as (one, two):
            await raw(one, frame(b"\xc1") + b"".join(encode_batch([Goodbye("fine")])))
            with pytest.raises(RemoteProtocolError, match="not a valid message"):
                await two.read()
            assert two.sound
            assert await two.read() == [Goodbye("fine")]

    run_async(main())


def maps(make):
    """The module ``mmap``, whose maps are made so."""
    return SimpleNamespace(**{**vars(mmap), "mmap": make})


@pytest.mark.parametrize(
    "head",
    [
        HEAD.pack(0, 1),
        HEAD.pack(10**9, 1),
        HEAD.pack(1, 2**63),
        HEAD.pack(2, 5) + (2**63).to_bytes(8, "little"),
        b"\xff" * 12,
    ],
    ids=["no frame", "10^9 frames", "2^63 bytes", "2^63 in frame 1", "ones"],
)
def test_lengths_over_the_limits_are_refused_before_anything_is_allocated(head, monkeypatch):
    monkeypatch.setattr(module, "mmap", maps(lambda *_, **__: pytest.fail("allocated")))
    monkeypatch.setattr(module, "bytearray", lambda *a: pytest.fail("allocated"), raising=False)

    async def main():
        async with pair() as (one, two):
            await raw(one, head)
            for _ in range(2):
                with pytest.raises(RemoteProtocolError):
                    await asyncio.wait_for(two.read(), 2)
            assert not two.sound

    run_async(main())


def test_a_frame_larger_than_memory_is_the_peers_error(monkeypatch):
    def none_left(*args, **options):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(module, "mmap", maps(none_left))

    async def main():
        async with pair() as (one, two):
            await raw(one, HEAD.pack(1, 2**35))
            with pytest.raises(RemoteProtocolError, match="frame of 34359738368 bytes: there is not so much memory"):
                await two.read()
            assert not two.sound

    run_async(main())


def test_a_frame_announced_and_never_sent_costs_no_memory():
    import psutil

    async def main():
        async with pair() as (one, two):
            before = psutil.Process().memory_info().rss
            await raw(one, HEAD.pack(1, 2**32) + b"x" * 100)
            reading = asyncio.ensure_future(two.read())
            await asyncio.wait([reading], timeout=0.1)
            assert psutil.Process().memory_info().rss - before < 50_000_000
            one.abort()
            with pytest.raises(ConnectionLostError):
                await reading

    run_async(main())


def test_half_a_frame_then_the_end_is_a_lost_connection():
    async def main():
        whole = b"".join(encode_batch([Request("x", {"a": Buffer(bytes(100_000))})]))
        for cut in (1, 11, 13, 20, 30, 1000, len(whole) - 1):
            async with pair() as (one, two):
                await raw(one, whole[:cut])
                one.abort()
                with pytest.raises(ConnectionLostError):
                    await two.read()

    run_async(main())


def test_lingering_lets_the_last_words_arrive_though_bytes_are_unread():
    async def main():
        async with pair() as (one, two):
            await raw(one, b"\xff" * 100_000)
            with pytest.raises(RemoteProtocolError):
                await two.read()
            two.send(Goodbye("why"))
            lingering = asyncio.ensure_future(two.linger(5))
            assert await one.read() == [Goodbye("why")]
            one.abort()
            await asyncio.wait_for(lingering, 2)

    run_async(main())


def test_an_idle_connection_costs_no_cpu():
    async def main():
        async with pair() as (_, two):
            reading = asyncio.ensure_future(two.read())
            await asyncio.sleep(0.05)
            start = time.process_time()
            await asyncio.sleep(0.3)
            assert time.process_time() - start < 0.02
            reading.cancel()
            await asyncio.wait([reading])

    run_async(main())


def flags_at(address):
    """What the system says of the map that an address lies in."""
    inside = False
    with open("/proc/self/smaps") as lines:
        for line in lines:
            first = line.split(None, 1)[0]
            if "-" in first and ":" not in first:
                low, high = (int(bound, 16) for bound in first.split("-"))
                inside = low <= address < high
            elif inside and first == "VmFlags:":
                return line.split()[1:]
    return None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_large_frame_is_received_into_private_huge_pages():
    async def main():
        async with pair() as (one, two):
            one.send(Reply(1, Buffer(bytes(2**23))))
            (reply,) = await two.read()
            return flags_at(address_of(reply.result.data)), reply

    flags, reply = run_async(main())
    assert len(reply.result) == 2**23
    assert "sh" not in flags  # shared pages are faulted in at half the speed
    if Path("/sys/kernel/mm/transparent_hugepage").exists():
        assert "hg" in flags
