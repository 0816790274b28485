"""The data that a worker holds."""

from __future__ import annotations

import pytest

from distributed.wire.payload import dumps
from distributed.worker.store import Pickled, Placed, Store


def test_values_are_kept_counted_and_dropped():
    store = Store()
    store.put({"a": 1, "b": 2}, {"a": 10, "b": 20})
    assert dict(store) == {"a": 1, "b": 2}
    assert store.total == 30
    store.put({"a": 3}, {"a": 5})
    assert store.total == 25
    store.drop(["a", "unknown"])
    assert store.total == 20
    assert "a" not in store
    with pytest.raises(KeyError):
        store["a"]


def test_a_copy_is_unpickled_when_first_needed_and_only_once():
    store = Store()
    store.put({"a": Pickled(dumps([1, 2]))}, {"a": 9})
    value = store["a"]
    assert value == [1, 2]
    assert store["a"] is value
    assert store.held["a"] is value


def test_what_lies_in_shared_memory_is_unpickled_once_and_its_payload_kept():
    store, payload = Store(), dumps([1, 2])
    store.put({"a": Placed(payload)}, {"a": 9})
    value = store["a"]
    assert value == [1, 2]
    assert store["a"] is value
    assert store.held["a"].payload is payload


STORE = Store()


def drop_and_return():
    STORE.drop(["a"])
    return "value"


class DropsItself:
    def __reduce__(self):
        return drop_and_return, ()


def test_a_value_dropped_while_it_is_unpickled_stays_dropped():
    STORE.put({"a": Pickled(dumps(DropsItself()))}, {"a": 9})
    assert STORE["a"] == "value"
    assert "a" not in STORE


def test_a_value_in_shared_memory_is_kept_there_as_long_as_its_key():
    store = Store()
    value = object()
    store.put({"x": value}, {"x": 5})
    store.settle("x", value, [b"p"], move=False)
    assert store.exports == {"x": (value, [b"p"])}
    assert store.held["x"] is value
    store.drop(["x"])
    assert not store.exports


def test_a_value_that_was_moved_is_given_up():
    store = Store()
    value = [1, 2]
    store.put({"x": value}, {"x": 5})
    store.settle("x", value, dumps([1, 2]), move=True)
    assert store.held["x"] is not value
    assert store["x"] == value
    assert not store.exports


@pytest.mark.parametrize("move", [True, False])
def test_a_value_that_left_meanwhile_is_not_brought_back(move):
    store = Store()
    store.settle("x", 1, dumps(1), move=move)
    store.put({"y": 2}, {"y": 5})
    store.settle("y", object(), dumps(1), move=move)
    assert store.held == {"y": 2}
    assert not store.exports
