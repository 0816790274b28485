"""Scattered data for workers here and elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from distributed.client.offers import Offers
from distributed.errors import SharedMemoryError
from distributed.payloads import SharedBuffer
from distributed.sharing.exchange import Exchange
from distributed.wire.payload import dumps
from tests.aio import run_async

ARRAY = np.arange(500_000.0)


class Workers:
    """A pool to workers at these places; those in ``closed`` cannot open what they are pointed at."""

    def __init__(self, places, closed=()):
        self.places = places
        self.closed = closed
        self.asked = []
        self.got = {}

    async def request(self, address, op, *, timeout_s, data=None):
        self.asked.append((address, op))
        if op == "place":
            return self.places[address]
        named = {part.token for payload in data.values() for part in payload if isinstance(part, SharedBuffer)}
        if named and address in self.closed:
            raise SharedMemoryError("cannot open the shared memory of process 1: Permission denied")
        self.got.setdefault(address, []).append(named)
        return {"status": "OK"}


class Session:
    def __init__(self, pool, mode="read-only"):
        self.pool = pool
        self.exchange = Exchange(mode)


HERE = Exchange("read-only").place


def send(session, *workers, data=None):
    async def main():
        offers = Offers(session)
        for worker in workers:
            await offers.send(worker, data or {"x": dumps(ARRAY)}, 5.0)

    run_async(main())


def test_workers_here_are_pointed_at_one_copy():
    pool = Workers({"a:1": HERE, "b:1": HERE})
    send(Session(pool), "a:1", "b:1")
    (one,), (two,) = pool.got.values()
    assert len(one) == 1
    assert one == two


@pytest.mark.parametrize("place", ["", "another boot"])
def test_a_worker_elsewhere_gets_bytes_and_is_asked_for_its_place_once(place):
    pool = Workers({"a:1": place})
    session = Session(pool)
    send(session, "a:1")
    send(session, "a:1")
    assert pool.got == {"a:1": [set(), set()]}
    assert pool.asked.count(("a:1", "place")) == 1


def test_a_client_that_does_not_share_asks_nothing():
    pool = Workers({"a:1": HERE})
    send(Session(pool, "off"), "a:1")
    assert pool.asked == [("a:1", "update_data")]


def test_small_data_are_sent_without_asking():
    pool = Workers({"a:1": HERE})
    send(Session(pool), "a:1", data={"x": [b"pickle"], "y": dumps(np.zeros(20_000))})
    assert pool.asked == [("a:1", "update_data")]


def test_who_cannot_open_it_gets_bytes_and_others_do_not(expect_log):
    expect_log("large data of a:1 come over the network instead")
    pool = Workers({"a:1": HERE, "b:1": HERE}, closed={"a:1"})
    send(Session(pool), "a:1", "b:1")
    assert pool.got["a:1"] == [set()]
    assert len(pool.got["b:1"][0]) == 1
