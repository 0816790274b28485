"""Asking a worker for data: by reference, and once more for the bytes."""

from __future__ import annotations

import numpy as np
import pytest

from distributed.payloads import SharedBuffer
from distributed.sharing.exchange import THRESHOLD, Exchange
from distributed.sharing.requests import request_data
from distributed.wire.payload import dumps, loads
from tests.aio import run_async

ARRAY = np.arange(float(THRESHOLD))


class Pool:
    """A worker that shares, or names something that is not there."""

    def __init__(self, wrong=False):
        self.exchange = Exchange("read-only")
        self.wrong = wrong
        self.asked = []

    async def request(self, address, op, *, timeout_s, keys, place=""):
        self.asked.append(place)
        payload = dumps(ARRAY)
        if place:
            payload, self.kept = self.exchange.share(payload)
            if self.wrong:
                payload = [payload[0], SharedBuffer(2**22 + 1, 3, 10**8, b"x" * 16, 0, ARRAY.nbytes)]
        return dict.fromkeys(keys, payload)


def ask(pool, exchange, nbytes=ARRAY.nbytes):
    return loads(run_async(request_data(pool, "a:1", ["x"], nbytes, exchange, 5.0))["x"])


def test_large_data_come_by_reference():
    pool, exchange = Pool(), Exchange("read-only")
    found = ask(pool, exchange)
    assert np.array_equal(found, ARRAY)
    assert np.shares_memory(found, loads(pool.kept))


@pytest.mark.parametrize("exchange", [None, Exchange("off")])
def test_who_does_not_share_asks_for_bytes(exchange):
    pool = Pool()
    assert np.array_equal(ask(pool, exchange), ARRAY)
    assert pool.asked == [""]


def test_small_data_are_asked_for_as_bytes():
    pool = Pool()
    ask(pool, Exchange("read-only"), nbytes=100)
    assert pool.asked == [""]


def test_what_cannot_be_opened_is_asked_for_once_more_and_the_next_time_at_once(expect_log):
    expect_log("large data of a:1 come over the network instead")
    pool, exchange = Pool(wrong=True), Exchange("read-only")
    for _ in range(2):
        assert np.array_equal(ask(pool, exchange), ARRAY)
    assert pool.asked == [exchange.place, "", ""]
