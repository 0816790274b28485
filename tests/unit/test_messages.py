import typing

import msgspec
import pytest

from distributed import messages
from distributed.errors import RemoteProtocolError
from distributed.messages import MESSAGE_TYPES, ErrorInfo, Message, TaskOptions, TaskSpec
from distributed.payloads import Buffer, Payload
from distributed.wire.frames import decode_batch, encode_batch

SAMPLES = {
    str: "k",
    int: 3,
    float: 0.5,
    bool: True,
    list[str]: ["a"],
    list[int]: [7],
    list[Payload]: [b"p"],
    list[Payload | None]: [b"p"],
    dict[str, typing.Any]: {"a": 1},
    dict[str, list[str]]: {"a": ["b"]},
    dict[str, int]: {"a": 1},
    dict[str, float] | None: {"GPU": 1.0},
    dict[str, tuple[int, list[str]]]: {"a": (1, ["b"])},
    dict[str, Payload]: {"a": b"p"},
    tuple[int, int]: (1, 2),
    list[TaskSpec]: [TaskSpec("k", "f", b"a", ["d"], TaskOptions(1, 2, ["w"], True, {"GPU": 1.0}))],
    Payload: b"p",
    Payload | None: b"p",
    ErrorInfo: ErrorInfo("T", "m", "t", b"e", "w", {"a": 1}),
    ErrorInfo | None: ErrorInfo("T", "m"),
    typing.Any: {"x": [1, None, b"y"]},
}


def sample(cls):
    hints = typing.get_type_hints(cls)
    return cls(*[SAMPLES[hints[name]] for name in cls.__struct_fields__])


@pytest.mark.parametrize("cls", MESSAGE_TYPES, ids=lambda c: c.__name__)
def test_every_message_travels(cls):
    message = sample(cls)
    [back] = decode_batch(encode_batch([message])[0][12:])
    assert type(back) is cls
    assert msgspec.structs.astuple(back) == msgspec.structs.astuple(message)


def test_every_message_has_its_own_tag_and_may_be_sent():
    tags = [cls.__struct_config__.tag for cls in MESSAGE_TYPES]
    assert len(set(tags)) == len(tags)
    assert set(typing.get_args(Message)) == set(MESSAGE_TYPES)
    assert {cls.__name__ for cls in MESSAGE_TYPES} <= set(messages.__all__)


@pytest.mark.parametrize("cls", [c for c in MESSAGE_TYPES if hasattr(c, "__post_init__")], ids=lambda c: c.__name__)
def test_a_block_whose_columns_differ_in_length_is_malformed(cls):
    message = sample(cls)
    message.keys.append("one more")
    with pytest.raises(RemoteProtocolError, match="columns of"):
        decode_batch(encode_batch([message])[0][12:])
    message.keys.pop()


@pytest.mark.parametrize("cls", MESSAGE_TYPES, ids=lambda c: c.__name__)
def test_defaults_are_not_shared(cls):
    required = [SAMPLES[typing.get_type_hints(cls)[f.name]] for f in msgspec.structs.fields(cls) if f.required]
    one, two = cls(*required), cls(*required)
    for name in cls.__struct_fields__:
        value = getattr(one, name)
        if isinstance(value, dict | list) and value not in required:
            assert value is not getattr(two, name)


def test_a_buffer_knows_its_bytes_and_does_not_show_them():
    assert len(Buffer(memoryview(bytes(16)).cast("d"))) == 16
    assert repr(Buffer(b"secret")) == "Buffer(6 bytes)"
