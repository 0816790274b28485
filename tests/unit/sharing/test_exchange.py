"""What is shared, what is copied, and what happens if it cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from distributed.errors import ConfigError, SharedMemoryError
from distributed.messages import Reply
from distributed.payloads import Buffer, SharedBuffer
from distributed.sharing import exchange as module
from distributed.sharing.exchange import THRESHOLD, Exchange, chosen_mode, place
from distributed.sharing.segments import live
from distributed.wire.frames import decode_batch, encode_batch
from distributed.wire.payload import dumps, loads

LARGE = THRESHOLD // 8 + 1


@pytest.fixture
def exchange():
    return Exchange("read-only")


def shared(parts):
    return [part for part in parts if isinstance(part, SharedBuffer)]


def test_a_large_array_is_named_and_comes_back_as_a_view(exchange):
    array = np.arange(float(LARGE))
    travels, kept = exchange.share(dumps(array))
    assert len(shared(travels)) == 1
    back = loads(exchange.adopt(travels))
    assert np.array_equal(back, array)
    assert not back.flags.writeable
    assert np.shares_memory(back, loads(kept))


def test_it_travels_as_a_few_bytes(exchange):
    travels, _kept = exchange.share(dumps(np.zeros(LARGE)))
    pieces = encode_batch([Reply(0, {"x": travels})])
    assert sum(map(len, pieces)) < 1000
    (reply,) = decode_batch(bytes(pieces[0])[12:])
    assert np.array_equal(loads(exchange.adopt(reply.result["x"])), np.zeros(LARGE))


@pytest.mark.parametrize("value", [5, np.zeros(100), np.zeros(THRESHOLD // 8 - 100), b"x" * 2 * THRESHOLD])
def test_what_is_small_or_in_the_pickle_travels(exchange, value):
    assert exchange.share(dumps(value)) is None


def test_several_arrays_lie_in_one_segment(exchange):
    arrays = [np.full(LARGE, float(i)) for i in range(3)]
    travels, _kept = exchange.share(dumps(arrays))
    assert len({part.token for part in shared(travels)}) == 1
    for back, array in zip(loads(exchange.adopt(travels)), arrays, strict=True):
        assert np.array_equal(back, array)


def test_what_lies_in_a_segment_is_not_copied_again(exchange):
    first, kept = exchange.share(dumps(np.zeros(LARGE)))
    second, _ = exchange.share(dumps({"again": loads(kept)}))
    assert second[1].token == first[1].token


def test_a_small_piece_of_a_segment_is_copied_out(exchange):
    _first, kept = exchange.share(dumps(np.zeros(10 * LARGE)))
    whole = loads(kept)
    token = next(iter(live())).token
    piece, _ = exchange.share(dumps(whole[:LARGE]))
    assert piece[1].token != token


def test_private_copies_are_written_by_their_owner_only():
    array = np.zeros(LARGE)
    mine = Exchange("writable")
    travels, kept = mine.share(dumps(array))
    one, two = (loads(mine.adopt(travels)) for _ in range(2))
    one[:] = 1
    assert not two.any()
    assert not loads(kept).any()
    again, _ = mine.share(dumps(one))
    assert loads(mine.adopt(again)).all()


def test_who_does_not_share_has_no_place():
    off = Exchange("off")
    assert off.place == ""
    assert off.place_for("a:1", 10**9) == ""
    assert not off.accepts(place())


def test_only_the_same_place_is_accepted(exchange):
    boot, space, user = exchange.place.split(" ")
    assert exchange.accepts(f"{boot} {space} {user}")
    for other in ("", f"x {space} {user}", f"{boot} pid:[1] {user}", f"{boot} {space} 12345"):
        assert not exchange.accepts(other)


def test_a_peer_that_could_not_be_understood_is_left_alone_for_a_while(exchange, expect_log, monkeypatch):
    expect_log("large data of a:1 come over the network instead")
    exchange.rest("a:1", SharedMemoryError("cannot open"))
    exchange.rest("a:1", SharedMemoryError("cannot open"))  # one line
    assert exchange.place_for("a:1", THRESHOLD) == ""
    assert exchange.place_for("b:1", THRESHOLD) == place()
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    exchange.rest("a:1", SharedMemoryError("cannot open"))
    assert exchange.place_for("a:1", THRESHOLD) == place()


@pytest.mark.parametrize("why", ["machine", "worker", "descriptors"])
def test_without_room_the_bytes_travel_and_one_line_says_so(why, monkeypatch, expect_log):
    expect_log("large data are sent to other processes of this host instead")
    may_take = None
    if why == "machine":
        monkeypatch.setattr(module, "memory_left", lambda: THRESHOLD)
    elif why == "worker":
        may_take = [].append  # never says yes
    else:
        monkeypatch.setattr(module, "has_room", lambda: False)
    exchange = Exchange("read-only", may_take)
    for _ in range(2):
        assert exchange.share(dumps(np.zeros(LARGE))) is None


def test_without_descriptors_nothing_is_asked_for(exchange, monkeypatch):
    monkeypatch.setattr(module, "has_room", lambda: False)
    assert exchange.place_for("a:1", THRESHOLD) == ""


def test_the_mode_comes_from_the_argument_else_the_environment(monkeypatch):
    assert chosen_mode(None) == "read-only"
    monkeypatch.setenv("DLAUNCH_SHARED_MEMORY", "off")
    assert chosen_mode(None) == "off"
    assert chosen_mode("writable") == "writable"
    monkeypatch.setenv("DLAUNCH_SHARED_MEMORY", "yes")
    with pytest.raises(ConfigError, match="DLAUNCH_SHARED_MEMORY is 'yes': choose read-only, writable or off"):
        chosen_mode(None)


def test_a_part_that_is_no_buffer_is_left_as_it_is(exchange):
    payload = [b"pickle", Buffer(bytes(2 * THRESHOLD))]
    travels, _ = exchange.share(payload)
    assert travels[0] == b"pickle"
    assert exchange.adopt([b"pickle"]) == [b"pickle"]
    assert exchange.adopt(b"pickle") == b"pickle"
