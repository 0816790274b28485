"""Data between workers."""

from __future__ import annotations

import threading

import pytest

from distributed.errors import ConnectionLostError, RequestTimeoutError, TaskError
from distributed.messages import Buffer
from distributed.wire.payload import dumps, loads
from distributed.worker.events import Fetched, PeerFailed
from distributed.worker.store import Pickled, Store
from distributed.worker.transfer import DataServer, fetch
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
        store.put(values, dict.fromkeys(values, 1))
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
