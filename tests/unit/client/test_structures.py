from typing import Any, NamedTuple

import pytest

from distributed.client.future import Future
from distributed.client.structures import MISSING, fill, find_futures
from distributed.client.table import KeyState


class Pair(NamedTuple):
    left: Any
    right: Any


class Session:
    def forget(self, state):
        pass


class Owner:
    _session = Session()
    asynchronous = False


@pytest.fixture
def futures():
    owner = Owner()
    return [Future(name, owner, KeyState(name)) for name in "abc"]


def test_futures_are_found_at_any_depth_in_order(futures):
    a, b, c = futures
    assert list(find_futures([a, {"k": (b, [c])}, 5, "text", a])) == [a, b, c, a]
    assert list(find_futures(a)) == [a]
    assert list(find_futures({1: {c}})) == [c]
    assert list(find_futures(None)) == []


def test_values_take_the_places_of_futures(futures):
    a, b, c = futures
    filled = fill({"list": [a, 1], "tuple": (b,), "pair": Pair(c, "x"), "set": {a}}, iter("abca"))
    assert filled == {"list": ["a", 1], "tuple": ("b",), "pair": Pair("c", "x"), "set": {"a"}}
    assert type(filled["pair"]) is Pair


def test_missing_values_are_left_out_of_containers(futures):
    a, b, c = futures
    assert fill([a, b, c], iter(["a", MISSING, "c"])) == ["a", "c"]
    assert fill({"x": b, "y": [b, a]}, iter([MISSING, MISSING, "a"])) == {"y": ["a"]}
    assert fill(b, iter([MISSING])) is MISSING
