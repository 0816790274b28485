"""Following a connection: each batch goes to a function as soon as it is here."""

from __future__ import annotations

import asyncio

import pytest

from distributed.errors import CommError, ConnectionClosedError, ConnectionLostError, RemoteProtocolError
from distributed.messages import Goodbye, KeyPending, Reply
from distributed.payloads import Buffer
from distributed.wire.frames import HEAD, encode_batch
from tests.aio import run_async, until
from tests.daemons.linkbed import pair, write_raw


async def followed(end, take):
    """Follow an end until it is lost; return the error."""
    with pytest.raises(CommError) as caught:
        await end.follow(take)
    return caught.value


def test_who_follows_gets_each_batch_and_then_the_end():
    async def main():
        async with pair() as (one, two):
            one.send(Goodbye("before"))
            await until(lambda: len(two._intake))
            two.unread([Goodbye("too early")])
            got = []
            following = asyncio.ensure_future(followed(two, got.extend))
            one.send(*[KeyPending(str(i)) for i in range(3)], Reply(1, Buffer(bytes(3_000_000))))
            await until(lambda: len(got) == 6)
            assert got[:2] == [Goodbye("too early"), Goodbye("before")]
            one.send(Goodbye("last words"))
            await one.close()
            assert isinstance(await following, ConnectionLostError)
            assert got[-1] == Goodbye("last words")
            assert two.closed

    run_async(main())


def test_what_the_follower_raises_is_raised_and_nothing_more_is_taken():
    async def main():
        async with pair() as (one, two):
            got = []

            def take(batch):
                got.append(batch)
                raise ZeroDivisionError

            await write_raw(one, b"".join(bytes(piece) for text in "ab" for piece in encode_batch([Goodbye(text)])))
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(two.follow(take), 2)
            assert got == [[Goodbye("a")]]
            assert await two.read() == [Goodbye("b")]

    run_async(main())


@pytest.mark.parametrize("data", [HEAD.pack(1, 1) + b"\xc1", HEAD.pack(0, 1)], ids=["content", "frame"])
def test_nonsense_ends_the_following(data):
    async def main():
        async with pair() as (one, two):
            await write_raw(one, data)
            with pytest.raises(RemoteProtocolError):
                await asyncio.wait_for(two.follow(lambda batch: None), 2)

    run_async(main())


def test_following_that_is_given_up_takes_nothing_more():
    async def main():
        async with pair() as (one, two):
            got = []
            following = asyncio.ensure_future(two.follow(got.extend))
            one.send(Goodbye("taken"))
            await until(lambda: got)
            following.cancel()
            await asyncio.wait([following])
            one.send(Goodbye("left"))
            assert await two.read() == [Goodbye("left")]
            assert got == [Goodbye("taken")]

    run_async(main())


def test_to_close_from_within_is_an_end_like_any_other():
    async def main():
        async with pair() as (one, two):
            one.send(Goodbye("leave"))
            error = await followed(two, lambda batch: two.abort())
            assert isinstance(error, ConnectionClosedError)

    run_async(main())


def test_a_peer_that_sends_while_nobody_reads_fills_no_memory_and_loses_nothing():
    async def main():
        async with pair() as (one, two):
            sent = [Goodbye(f"{number}" * 1000) for number in range(5000)]
            for message in sent:
                one.send(message)
                await asyncio.sleep(0)
            assert len(two._intake) < 10**6
            assert one.pending_bytes > 10**6
            got = []
            while len(got) < len(sent):
                got += await two.read()
            assert got == sent

    run_async(main())
