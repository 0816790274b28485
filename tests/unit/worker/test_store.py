"""The data that a worker holds."""

from __future__ import annotations

import pytest

from distributed.wire.payload import dumps
from distributed.worker.held import Held
from distributed.worker.store import Pickled, Placed, Store, load


def test_values_are_a_mapping_whose_sizes_are_known():
    store = Store()
    store.held.update(a=Held(1, 10), b=Held(2, 20))
    assert dict(store) == {"a": 1, "b": 2}
    assert store.nbytes == 30
    del store.held["a"]
    assert "a" not in store
    assert len(store) == 1
    with pytest.raises(KeyError):
        store["a"]


def test_a_copy_is_unpickled_when_first_needed_and_only_once():
    store = Store()
    store.held["a"] = Held(Pickled(dumps([1, 2])), 9)
    value = store["a"]
    assert value == [1, 2]
    assert store["a"] is value
    assert store.held["a"].value is value


def test_a_copy_in_shared_memory_is_not_of_what_was_unpickled_since():
    held = Held(Pickled(dumps([1, 2])), 9, exported=[b"p"])
    load(held)
    assert held.exported is None


def test_what_lies_in_shared_memory_is_unpickled_once_and_its_payload_kept():
    store, payload = Store(), dumps([1, 2])
    store.held["a"] = Held(Placed(payload), 9)
    value = store["a"]
    assert value == [1, 2]
    assert store["a"] is value
    assert store.held["a"].value.payload is payload


STORE = Store()


def drop_and_return():
    del STORE.held["a"]
    return "value"


class DropsItself:
    def __reduce__(self):
        return drop_and_return, ()


def test_a_value_dropped_while_it_is_unpickled_stays_dropped():
    STORE.held["a"] = Held(Pickled(dumps(DropsItself())), 9)
    assert STORE["a"] == "value"
    assert "a" not in STORE
