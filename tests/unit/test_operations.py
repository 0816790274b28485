from typing import Annotated, Any

import msgspec
import pytest

from distributed.operations import operation, operations_of, stream_operation
from distributed.payloads import Buffer, Payload


class Base:
    @operation
    async def ping(self):
        """Answer."""

    @operation
    async def typed(self, count: int, names: list[str] | None = None, *, share: float = 0.5, data: Any = b""):
        """Take arguments."""

    @operation
    async def bounded(self, share: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1):
        """Take a number from 1 to 9."""

    @operation
    async def put(self, data: Buffer, payload: Payload = b""):
        """Take bytes."""

    async def hidden(self):
        """Not an operation."""


class Derived(Base):
    @stream_operation
    async def watch(self, connection, request_id, *, name: str):
        """Take over."""

    @operation
    async def ping(self, loud: bool = False):
        """Answer differently."""


def test_operations_are_the_marked_methods_of_the_class_and_its_bases():
    assert set(operations_of(Base)) == {"ping", "typed", "put", "bounded"}
    found = operations_of(Derived)
    assert set(found) == {"ping", "typed", "put", "bounded", "watch"}
    assert found["watch"].takes_stream
    assert not found["ping"].takes_stream
    assert found["ping"].function is Derived.ping


def test_defaults_fill_in_and_numbers_become_floats():
    typed = operations_of(Base)["typed"]
    assert typed.check({"count": 3}) == {"count": 3, "names": None, "share": 0.5, "data": b""}
    assert isinstance(typed.check({"count": 3, "share": 1})["share"], float)


def test_buffers_and_payloads_pass_untouched():
    data, part = Buffer(b"x"), Buffer(b"y")
    found = operations_of(Base)["put"].check({"data": data, "payload": [b"p", part]})
    assert found["data"] is data
    assert found["payload"][1] is part


def test_the_connection_is_not_an_argument_of_the_peers():
    watch = operations_of(Derived)["watch"]
    assert watch.check({"name": "x"}) == {"name": "x"}
    with pytest.raises(TypeError, match="unknown field `connection`"):
        watch.check({"name": "x", "connection": 1})


def deep(depth):
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({}, "operation typed: Object missing required field `count`"),
        ({"count": "3"}, r"operation typed: Expected `int`, got `str` - at `\$.count`"),
        ({"count": True}, "Expected `int`"),
        ({"count": None}, "Expected `int`"),
        ({"count": 1, "names": ["a", 5]}, r"\$.names\[1\]"),
        ({"count": 1, "names": "abc"}, r"\$.names"),
        ({"count": 1, "extra": 2}, "unknown field `extra`"),
        ({"count": 1, "self": 2}, "unknown field `self`"),
        ({"count": 1, "names": deep(50_000)}, "operation typed: "),
    ],
)
def test_wrong_arguments_are_named(kwargs, words):
    with pytest.raises(TypeError, match=words):
        operations_of(Base)["typed"].check(kwargs)


def test_annotations_may_bound_a_number():
    bounded = operations_of(Base)["bounded"]
    assert bounded.check({"share": 9}) == {"share": 9}
    for share in (0, 10, 2**63):
        with pytest.raises(TypeError, match=r"operation bounded: Expected `int` .=.*\$.share"):
            bounded.check({"share": share})
