"""Batches out of bytes, however those are cut."""

from __future__ import annotations

import random

import pytest

from distributed.errors import RemoteProtocolError
from distributed.messages import Goodbye, Reply
from distributed.payloads import Buffer
from distributed.wire.frames import HEAD, Limits, decode_batch, encode_batch
from distributed.wire.intake import Intake

BATCHES = [
    [Goodbye("one")],
    [Goodbye(""), Reply(1, Buffer(b"small"))],
    [Reply(2, Buffer(bytes(range(256)) * 1000)), Goodbye("x" * 100_000)],
    [Reply(3, [Buffer(b""), Buffer(b"a" * 65_536), Buffer(b"b" * 65_537), Buffer(b"c" * 200_000)])],
    [Goodbye("y" * 300_000)],
    [Goodbye("last")],
]


def plain(value):
    if isinstance(value, Buffer):
        return bytes(value.data)
    return [plain(one) for one in value] if isinstance(value, list) else value


def said(batch):
    return [(type(m), plain(m.result) if isinstance(m, Reply) else m.reason) for m in batch]


def wire(batches):
    return b"".join(bytes(piece) for batch in batches for piece in encode_batch(batch))


def feed(intake, data, sizes):
    """Bring bytes as a socket does: into the gap if there is one, else into memory that is used again."""
    found, start, shared = [], 0, bytearray(2**18)
    while start < len(data):
        size = min(next(sizes), len(data) - start, len(shared))
        if intake.gap:
            size = min(size, len(intake.gap))
            intake.gap[:size] = data[start : start + size]
            intake.fill(size)
        else:
            shared[:size] = data[start : start + size]
            intake.put(memoryview(shared)[:size])
        start += size
        while (batch := intake.next()) is not None:
            found.append(decode_batch(*batch))
        intake.keep()
        shared[:size] = bytes(size)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_batches_come_out_as_they_went_in_however_the_bytes_are_cut(seed):
    rng = random.Random(seed)
    batches = [rng.choice(BATCHES) for _ in range(12)]
    most = rng.choice((300, 5_000, 70_000, 2**18))
    found = feed(Intake(Limits()), wire(batches), iter(lambda: rng.randint(1, most), None))
    assert list(map(said, found)) == list(map(said, batches))


def test_nothing_is_kept_of_what_was_given_out():
    intake = Intake(Limits())
    assert len(feed(intake, wire(BATCHES), iter(lambda: 50_000, None))) == len(BATCHES)
    assert len(intake) == 0
    assert not intake.gap


def test_half_a_batch_is_none():
    whole = wire([[Goodbye("whole"), Reply(1, Buffer(b"x" * 100))]])
    for cut in range(len(whole)):
        intake = Intake(Limits())
        intake.put(memoryview(whole)[:cut])
        assert intake.next() is None
        intake.put(memoryview(whole)[cut:])
        assert intake.next() is not None


@pytest.mark.parametrize("head", [HEAD.pack(0, 1), HEAD.pack(9, 1), HEAD.pack(1, 2000), HEAD.pack(2, 5) + b"\xff" * 8])
def test_lengths_over_the_limits_raise_before_anything_is_allocated(head):
    intake = Intake(Limits(frames=8, batch_bytes=1000))
    intake.put(memoryview(head))
    with pytest.raises(RemoteProtocolError, match="the limit is"):
        intake.next()
    assert not intake.gap
