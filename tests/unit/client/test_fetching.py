import asyncio
import threading
from collections import defaultdict

import pytest

from distributed.client import fetching
from distributed.client.fetching import fetch
from distributed.client.table import KeyState, Remote
from distributed.errors import CancelledError, CommError, ConnectionLostError, WorkerLostError
from distributed.sharing.exchange import Exchange
from tests.aio import run_async, until


class StubPool:
    """Workers and a scheduler that hold what the test says; unknown addresses cannot be reached."""

    def __init__(self, session):
        self.session = session
        self.holdings = {}
        self.asked = defaultdict(list)

    async def request(self, address, op, *, timeout_s, keys):
        assert timeout_s
        self.asked[address].append(keys)
        if address not in self.holdings:
            raise CommError(f"cannot connect to {address}", address=address)
        held = self.holdings[address]
        return {key: held[key] for key in keys if key in held}


class StubSession:
    scheduler_address = "scheduler:1"

    def __init__(self):
        self.pool = StubPool(self)
        self.lock = threading.Lock()
        self.ended = None
        self.holders = {}
        self.exchange = Exchange("off")

    async def request(self, op, *, patience_s, keys):
        assert (op, bool(patience_s)) == ("who_has", True)
        return {key: self.holders[key] for key in keys if key in self.holders}


def state(key, status="finished", detail=None):
    made = KeyState(key)
    if status != "pending":
        made.end(status, detail)
    return made


def at(key, *workers, nbytes=10):
    return state(key, "finished", Remote(list(workers), nbytes))


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(fetching, "_FIRST_PAUSE_S", 0.001)


@pytest.fixture
def session():
    return StubSession()


def get(session, *states):
    return run_async(fetch(session, states))


def test_what_is_here_needs_nobody(session):
    got = get(session, state("x", "finished", b"1"), state("y", "finished", [b"2"]))
    assert got.payloads == {"x": b"1", "y": [b"2"]}
    assert not session.pool.asked


def test_failures_come_as_their_exceptions(session):
    got = get(session, state("x", "cancelled"), state("y", "finished", b"2"))
    assert isinstance(got.errors["x"], CancelledError)
    assert got.payloads == {"y": b"2"}


def test_each_worker_is_asked_once_for_all_it_has(session):
    session.pool.holdings = {"a:1": {"x": b"1", "y": b"2"}, "b:1": {"z": b"3"}}
    got = get(session, at("x", "a:1"), at("y", "a:1"), at("z", "b:1"))
    assert got.payloads == {"x": b"1", "y": b"2", "z": b"3"}
    assert session.pool.asked == {"a:1": [["x", "y"]], "b:1": [["z"]]}


def test_large_results_are_asked_for_in_several_requests(session):
    session.pool.holdings = {"a:1": {"x": b"1", "y": b"2", "z": b"3"}}
    get(session, *(at(key, "a:1", nbytes=2**25) for key in "xyz"))
    assert sorted(map(len, session.pool.asked["a:1"])) == [1, 2]


def test_many_results_are_asked_for_in_several_requests(session):
    keys = [f"k{i}" for i in range(4500)]
    session.pool.holdings = {"a:1": dict.fromkeys(keys, b"1")}
    got = get(session, *(at(key, "a:1") for key in keys))
    assert len(got.payloads) == 4500
    assert sorted(map(len, session.pool.asked["a:1"])) == [500, 2000, 2000]


def test_the_scheduler_relays_what_a_worker_did_not_deliver(session):
    session.pool.holdings = {"a:1": {}, "scheduler:1": {"x": b"1"}}
    assert get(session, at("x", "a:1")).payloads == {"x": b"1"}
    assert session.pool.asked["scheduler:1"] == [["x"]]


def test_the_scheduler_tells_the_present_holders(session):
    session.pool.holdings = {"b:1": {"x": b"1"}, "scheduler:1": {}}
    session.holders = {"x": ["b:1"]}
    assert get(session, at("x", "a:1")).payloads == {"x": b"1"}
    assert list(session.pool.asked) == ["a:1", "scheduler:1", "b:1"]


def test_in_the_end_the_error_names_who_was_asked(session):
    session.pool.holdings = {"scheduler:1": {}}
    got = get(session, at("x", "a:1"))
    assert isinstance(got.errors["x"], WorkerLostError)
    assert "neither a:1 nor the scheduler" in str(got.errors["x"])
    assert len(session.pool.asked["a:1"]) == fetching._ROUNDS


def test_without_a_scheduler_only_the_known_holders_are_tried(session):
    session.ended = ConnectionLostError("lost the scheduler at s:1", address="s:1")
    session.pool.holdings = {"a:1": {"x": b"1"}}
    got = get(session, at("x", "a:1"), at("y", "b:1"))
    assert got.payloads == {"x": b"1"}
    assert isinstance(got.errors["y"], ConnectionLostError)
    assert "cannot fetch y from b:1: lost the scheduler at s:1" in str(got.errors["y"])
    assert "scheduler:1" not in session.pool.asked


def test_a_key_that_became_pending_is_waited_for(session):
    lost = at("x", "a:1")

    async def relay(address, op, *, timeout_s, keys):
        if address == "a:1":
            lost.reopen()  # the scheduler's word comes while we ask
            raise CommError("cannot connect")
        return {}

    async def main():
        session.pool.request = relay
        task = asyncio.ensure_future(fetch(session, [lost]))
        await until(lambda: lost.waiters)
        with session.lock:
            lost.end("finished", b"again")
        assert (await task).payloads == {"x": b"again"}

    run_async(main())
