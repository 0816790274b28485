import contextlib
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import LocalProtocolError, RemoteProtocolError
from distributed.messages import Goodbye, KeyPending, ReleaseKeys, Reply, Request, TaskFinished
from distributed.payloads import Buffer, SharedBuffer
from distributed.wire import frames
from distributed.wire.frames import (
    HEAD,
    Decoder,
    Encoder,
    Limits,
    check_head,
    check_lengths,
    decode_batch,
    encode_batch,
    join,
)


def take_apart(pieces):
    """Read a batch as a peer does: header, lengths, frames."""
    data = b"".join(bytes(piece) for piece in pieces)
    count, first = check_head(data[: HEAD.size], Limits())
    start = HEAD.size + 8 * (count - 1)
    lengths = check_lengths(data[HEAD.size : start], first, Limits())
    parts = []
    for length in [first, *lengths]:
        parts.append(data[start : start + length])
        start += length
    assert start == len(data)
    return parts[0], parts[1:]


def there_and_back(messages):
    return decode_batch(*take_apart(encode_batch(messages)))


def test_a_small_batch_is_one_piece():
    assert len(encode_batch([Goodbye("x")])) == 1


@pytest.mark.parametrize("number", [1, 15, 16, 17, 65535, 65536, 70000])
def test_batches_of_any_length_come_back(number):
    messages = [KeyPending("k")] * number
    assert there_and_back(messages) == messages


@given(
    st.lists(
        st.builds(
            TaskFinished,
            st.text(),
            st.integers(0, 2**63),
            st.integers(0, 2**63),
            st.floats(0, 9),
            st.text(),
            st.none() | st.binary(),
        ),
        max_size=20,
    )
)
def test_messages_come_back_equal(messages):
    assert there_and_back(messages) == messages


def test_buffers_travel_beside_the_message_uncopied():
    data = bytearray(100_000)
    pieces = encode_batch([Request("put", {"data": Buffer(data), "more": [b"p", Buffer(b"second")]})])
    assert [len(piece) for piece in pieces[1:]] == [100_000, 6]
    assert pieces[1].obj is data
    [request] = decode_batch(*take_apart(pieces))
    assert request.kwargs["data"].data == data
    assert request.kwargs["more"][1].data == b"second"


def test_an_empty_buffer_comes_back_empty():
    [reply] = there_and_back([Reply(1, Buffer(b""))])
    assert len(reply.result) == 0


def test_a_buffer_may_be_any_contiguous_memory():
    wide = memoryview(struct.pack("4d", 1, 2, 3, 4)).cast("d")
    [reply] = there_and_back([Reply(1, Buffer(wide))])
    assert memoryview(reply.result.data).cast("d")[3] == 4.0


def test_more_buffers_than_frames_travel_inside(monkeypatch):
    monkeypatch.setattr(frames, "_MOST_FRAMES", 3)
    pieces = encode_batch([Reply(1, [Buffer(bytes([i])) for i in range(5)])])
    assert len(pieces) == 4
    [reply] = decode_batch(*take_apart(pieces))
    assert [bytes(item.data) for item in reply.result] == [bytes([i]) for i in range(5)]


def test_chunks_join_to_one_batch_in_order():
    encoder = Encoder()
    chunks = [encoder.encode([Goodbye(str(i))] * i) for i in range(1, 20)]
    chunks.append(encoder.encode([Reply(7, Buffer(b"data"))]))
    messages = decode_batch(*take_apart(join(chunks)))
    assert [m.reason for m in messages[:-1]] == [str(i) for i in range(1, 20) for _ in range(i)]
    assert messages[-1].result.data == b"data"


def test_a_chunk_knows_its_bytes():
    chunk = Encoder().encode([Reply(1, Buffer(bytes(1000)))])
    assert chunk.nbytes == len(chunk.body) + 1000


def test_what_is_sent_is_what_it_was_when_it_was_sent():
    keys = ["a"]
    chunk = Encoder().encode([ReleaseKeys(keys)])
    keys.append("b")
    assert decode_batch(*take_apart(join([chunk]))) == [ReleaseKeys(["a"])]


@pytest.mark.parametrize(
    "value", [object(), {1, 2, object()}, 2**70, "\ud800", lambda: 0, 1j], ids=lambda v: type(v).__name__
)
def test_what_cannot_be_encoded_is_our_error(value):
    with pytest.raises(LocalProtocolError, match="cannot be encoded"):
        Encoder().encode([Reply(1, value)])


def test_an_encoder_is_good_again_after_a_failure():
    encoder = Encoder()
    with pytest.raises(LocalProtocolError):
        encoder.encode([Reply(1, [Buffer(b"x"), object()])])
    assert encoder.encode([Reply(1, Buffer(b"y"))]).frames == [b"y"]


def test_a_message_that_holds_itself_is_our_error():
    loop = []
    loop.append(loop)
    with pytest.raises(LocalProtocolError):
        Encoder().encode([Reply(1, loop)])


@pytest.mark.parametrize(
    ("count", "first", "words"),
    [
        (0, 10, "batch of 0 frames"),
        (10**9, 10, "batch of 1000000000 frames, the limit is 65536"),
        (2**32 - 1, 10, "batch of 4294967295 frames"),
        (1, 2**63, "batch of 9223372036854775808 bytes, the limit is"),
        (1, 2**64 - 1, "batch of 18446744073709551615 bytes"),
    ],
)
def test_a_header_over_the_limits_is_refused_in_numbers(count, first, words):
    with pytest.raises(RemoteProtocolError, match=words):
        check_head(HEAD.pack(count, first), Limits())


def test_frames_that_are_too_much_together_are_refused():
    limits = Limits(frames=4, batch_bytes=100)
    assert check_lengths(struct.pack("<2Q", 40, 40), 20, limits) == [40, 40]
    with pytest.raises(RemoteProtocolError, match="batch of 101 bytes, the limit is 100"):
        check_lengths(struct.pack("<2Q", 40, 41), 20, limits)
    with pytest.raises(RemoteProtocolError):
        check_lengths(struct.pack("<2Q", 2**64 - 1, 2**64 - 1), 20, limits)


BROKEN = {
    "empty": b"",
    "not msgpack": b"\xc1",
    "a number": b"\x05",
    "a map": b"\x81\xa2op\xa1x",
    "cut short": b"\x91\x93\x01\xa2",
    "bytes after the end": b"\x90\x90",
    "no such tag": b"\x91\x92\xcd\x03\xe7\xa1x",
    "tag of a wrong type": b"\x91\x92\xa1x\xa1x",
    "op is a number": b"\x91\x92\x01\x05",
    "op is bytes": b"\x91\x92\x01\xc4\x01x",
    "op is null": b"\x91\x92\x01\xc0",
    "op is missing": b"\x91\x91\x01",
    "too many fields": b"\x91\x95\x01\xa1x\x80\x00\x00",
    "kwargs is a list": b"\x91\x93\x01\xa1x\x90",
    "kwargs with a number for a name": b"\x91\x93\x01\xa1x\x81\x01\x01",
    "a value with a list for a key": b"\x91\x93\x01\xa1x\x81\xa1a\x81\x91\x80\x01",
    "a map as the key of a map": b"\x91\x93\x01\xa1x\x81\xa1a\x81\x80\x01",
    "op is not UTF-8": b"\x91\x92\x01\xa1\xff",
    "a frame that is not there": b"\x91\x93\x01\xa1x\x81\xa1a\xd6\x01\x01\x00\x00\x00",
    "frame number 0": b"\x91\x93\x01\xa1x\x81\xa1a\xd6\x01\x00\x00\x00\x00",
    "an extension of another kind": b"\x91\x93\x01\xa1x\x81\xa1a\xd6\x07\x01\x00\x00\x00",
    "cut short in an extension": b"\x91\x93\x01\xa1x\x81\xa1a\xd6\xff\xff\xff\xff",
    "deep": b"\x91\x93\x01\xa1x\x81\xa1a" + b"\x91" * 100_000 + b"\x01",
    "deep maps": b"\x91\x93\x01\xa1x\x81\xa1a" + b"\x81\xa1a" * 100_000 + b"\x01",
    "a list of 2^32 items": b"\xdd\xff\xff\xff\xff",
    "a text of 2^32 bytes": b"\x91\x92\x01\xdb\xff\xff\xff\xff",
}


@pytest.mark.parametrize("name", BROKEN)
def test_nonsense_is_the_peers_error(name):
    decoder = Decoder()
    with pytest.raises(RemoteProtocolError, match="not a valid message: "):
        decoder.decode(BROKEN[name])
    body, _ = take_apart(encode_batch([Goodbye("fine")]))
    assert decoder.decode(body) == [Goodbye("fine")]


def test_an_error_names_the_field():
    with pytest.raises(RemoteProtocolError, match=r"Expected `str`, got `int`.*\$\[0\]\[1\]"):
        decode_batch(BROKEN["op is a number"])


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_the_peers_error(data):
    with contextlib.suppress(RemoteProtocolError):
        assert isinstance(decode_batch(data), list)


def test_a_shared_buffer_comes_back_as_it_was():
    sent = SharedBuffer(4711, 12, 2**40, b"0123456789abcdef", 2**33, 2**34)
    (reply,) = there_and_back([Reply(1, {"x": [b"pickle", sent]})])
    got = reply.result["x"][1]
    assert isinstance(got, SharedBuffer)
    assert [getattr(got, name) for name in got.__slots__] == [getattr(sent, name) for name in sent.__slots__]
    assert len(got) == 2**34


def test_a_shared_buffer_of_another_size_is_nonsense():
    body = msgspec.msgpack.encode([[2, 1, msgspec.msgpack.Ext(3, b"x" * 10)]])
    with pytest.raises(RemoteProtocolError, match="extension 3 of 10 bytes"):
        decode_batch(body)
