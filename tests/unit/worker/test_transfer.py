"""Data between workers."""

from __future__ import annotations

import asyncio
import pickle
import threading

import numpy as np
import pytest

from distributed.errors import ConnectionLostError, RequestTimeoutError, TaskError
from distributed.payloads import Buffer, SharedBuffer
from distributed.sharing.exchange import Exchange
from distributed.wire.payload import dumps, loads
from distributed.worker.events import Fetched, PeerFailed
from distributed.worker.held import Held
from distributed.worker.store import Pickled, Placed, Store
from distributed.worker.transfer import DataServer, arrived, fetch
from tests.aio import run_async

PEER = "10.0.0.2:1"


class FakePool:
    """Answers requests by what it was given, in turn."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    async def request(self, address, op, *, timeout_s, **kwargs):
        self.requests.append((address, op, kwargs, timeout_s))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def fetched(pool, keys=("x",), nbytes=0):
    return run_async(fetch(pool, PEER, list(keys), nbytes))


def test_copies_come_unpickled_by_nobody():
    pool = FakePool({"x": dumps(5)})
    event = fetched(pool, ["x", "y"], nbytes=10_000_000)
    assert isinstance(event, Fetched)
    assert list(event.sizes) == ["x"]
    assert isinstance(event.values["x"], Pickled)
    assert pool.requests == [(PEER, "get_data", {"keys": ["x", "y"]}, 130.0)]


def test_a_broken_connection_is_tried_once_more():
    pool = FakePool(ConnectionLostError("lost"), {"x": dumps(5)})
    assert isinstance(fetched(pool), Fetched)


@pytest.mark.parametrize(
    "answers",
    [
        [ConnectionLostError("lost"), ConnectionLostError("lost")],
        [RequestTimeoutError("silent")],
        [TypeError("a Nanny has no operation get_data")],
    ],
)
@pytest.mark.expect_log("could not fetch 1 keys")
def test_a_peer_that_does_not_give_it_has_failed(answers):
    pool = FakePool(*answers)
    assert fetched(pool) == PeerFailed(PEER)
    assert not pool.answers


def served(values, keys):
    async def serve():
        store = Store()
        store.held.update({key: Held(value, 1) for key, value in values.items()})
        return await DataServer(store).get(keys)

    return run_async(serve())


def test_what_is_here_is_served_and_the_rest_is_absent():
    found = served({"a": 1, "b": [1, 2]}, ["a", "b", "c"])
    assert {key: loads(payload) for key, payload in found.items()} == {"a": 1, "b": [1, 2]}


def test_a_copy_is_passed_on_as_it_came():
    payload = dumps("never loaded")
    assert served({"a": Pickled(payload)}, ["a"])["a"] is payload


def test_arrays_are_not_copied():
    np = pytest.importorskip("numpy")
    array = np.arange(100_000)
    payload = served({"a": array}, ["a"])["a"]
    assert isinstance(payload[1], Buffer)
    assert np.shares_memory(np.frombuffer(payload[1].data, array.dtype), array)


def test_pickling_runs_beside_the_loop():
    class Where:
        def __reduce__(self):
            return str, (threading.current_thread().name,)

    assert loads(served({"a": Where()}, ["a"])["a"]).startswith("background")


def test_a_value_that_cannot_be_pickled_raises_where_it_arrives_and_spoils_no_other():
    found = served({"bad": [threading.Lock()], "good": [1]}, ["bad", "good"])
    assert loads(found["good"]) == [1]
    with pytest.raises(TaskError, match="the result of bad is of type list, which cannot be"):
        loads(found["bad"])


# -- shared memory -------------------------------------------------------------------------------

ARRAY = np.arange(500_000.0)


class Model:
    """An object that is not the same after a journey."""

    def __init__(self, array):
        self.array = array
        self.cache = "not pickled"

    def __getstate__(self):
        return {"array": self.array}


def asked_for(store, mode="read-only", place=None, times=1):
    exchange = Exchange(mode)

    async def main():
        server = DataServer(store, exchange)
        asked = [server.get(list(store.held), exchange.place if place is None else place) for _ in range(times)]
        return await asyncio.gather(*asked)

    return exchange, run_async(main())


def holding(value, nbytes=ARRAY.nbytes):
    store = Store()
    store.held["x"] = Held(value, nbytes)
    return store


def tokens(answers):
    return {part.token for answer in answers for part in answer["x"] if isinstance(part, SharedBuffer)}


def test_a_reader_here_is_told_where_the_value_is_and_the_store_keeps_it_there():
    store = holding(ARRAY)
    exchange, answers = asked_for(store)
    view = loads(exchange.adopt(answers[0]["x"]))
    assert np.array_equal(view, ARRAY)
    assert np.shares_memory(store["x"], view)


def test_readers_at_once_and_later_get_the_same_segment():
    store = holding(ARRAY)
    _, answers = asked_for(store, times=5)
    _, later = asked_for(store)
    assert store["x"] is not ARRAY
    _, loaded = asked_for(store)
    assert len(tokens([*answers, *later, *loaded])) == 1


@pytest.mark.parametrize("place", ["", "another boot"])
def test_a_reader_elsewhere_gets_bytes(place):
    _, answers = asked_for(holding(ARRAY), place=place)
    assert not tokens(answers)
    assert np.array_equal(loads(answers[0]["x"]), ARRAY)


def test_an_object_stays_beside_its_copy_which_is_made_once():
    model = Model(ARRAY)
    store = holding(model)
    exchange, answers = asked_for(store)
    _, later = asked_for(store)
    assert store["x"] is model
    assert len(tokens([*answers, *later])) == 1
    assert np.array_equal(loads(exchange.adopt(answers[0]["x"])).array, ARRAY)


def test_where_readers_write_the_value_stays_as_it_is():
    store = holding(ARRAY)
    _, answers = asked_for(store, mode="writable")
    assert tokens(answers)
    assert store["x"] is ARRAY


def test_a_value_that_was_unpickled_meanwhile_stays_as_it_is(monkeypatch):
    store = holding(Pickled(dumps(ARRAY)))
    exchange = Exchange("read-only")
    share, loaded = exchange.share, []

    def share_late(payload):
        loaded.append(store["x"])
        return share(payload)

    monkeypatch.setattr(exchange, "share", share_late)
    answer = run_async(DataServer(store, exchange).get(["x"], exchange.place))
    assert tokens([answer])
    assert store["x"] is loaded[0]
    assert store.held["x"].exported is None


def test_a_small_value_travels_beside_a_large_one():
    store = holding(ARRAY)
    store.held["y"] = Held(5, 28)
    _, (answer,) = asked_for(store)
    assert tokens([answer])
    assert loads(answer["y"]) == 5


def test_a_copy_that_came_by_network_is_shared_on():
    store = holding(Pickled(dumps(ARRAY)))
    exchange, answers = asked_for(store)
    assert np.array_equal(loads(exchange.adopt(answers[0]["x"])), ARRAY)
    assert np.shares_memory(store["x"], loads(exchange.adopt(answers[0]["x"])))


def test_what_lies_in_segments_is_handed_on_as_it_came():
    """Pickled anew it would be read-only for those who get bytes, too."""
    origin = holding(ARRAY)
    _, (answer,) = asked_for(origin)
    came = arrived(Exchange("read-only").adopt(answer["x"]))
    assert isinstance(came, Placed)
    store = holding(came)
    assert not store["x"].flags.writeable
    payload = run_async(DataServer(store).get(["x"]))["x"]
    assert payload is came.payload
    bytes_of_its_own = [bytearray(part.data) for part in payload[1:]]
    assert pickle.loads(payload[0], buffers=bytes_of_its_own).flags.writeable


def test_what_cannot_be_pickled_is_told_to_a_reader_here_too():
    store = holding(threading.Lock())
    _, answers = asked_for(store)
    with pytest.raises(TaskError, match="cannot be pickled"):
        loads(answers[0]["x"])
