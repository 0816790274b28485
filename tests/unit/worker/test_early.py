"""Which results are put into shared memory before anybody asks."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from distributed.sharing.exchange import Exchange
from distributed.sharing.segments import locate
from distributed.worker import early as early_module
from distributed.worker.early import EarlySharing
from distributed.worker.store import Placed

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shared memory is for Linux")

NBYTES = 4_000_000


def array():
    return np.arange(500_000.0)


def in_segment(value):
    value = value.load() if isinstance(value, Placed) else value
    return locate(memoryview(value).cast("B")) is not None


@pytest.fixture
def early():
    """One that knows that results of f travel."""
    early = EarlySharing(Exchange("read-only"))
    early.place("first", "f", array(), NBYTES)
    early.asked("first")
    return early


def test_the_first_result_stays_where_it_is():
    early, value = EarlySharing(Exchange("read-only")), array()
    assert early.place("k", "f", value, NBYTES) is value


def test_the_next_one_of_a_function_whose_results_travel_is_shared(early):
    placed = early.place("k", "f", array(), NBYTES).load()
    assert in_segment(placed)
    assert np.array_equal(placed, array())
    assert not placed.flags.writeable
    assert not in_segment(early.place("k2", "g", array(), NBYTES))


def test_containers_of_arrays_are_shared_too(early):
    placed = early.place("k", "f", {"a": array(), "b": [1, array()]}, 2 * NBYTES).load()
    assert in_segment(placed["a"])
    assert in_segment(placed["b"][1])
    assert placed["b"][0] == 1


def test_a_result_that_goes_unasked_ends_it_and_one_that_is_asked_for_begins_it_again(early):
    early.place("k", "f", array(), NBYTES)
    early.dropped(["other", "k"])
    assert not in_segment(early.place("k2", "f", array(), NBYTES))
    early.asked("k2")
    early.dropped(["k2"])  # it was asked for before
    assert in_segment(early.place("k3", "f", array(), NBYTES))


class Opaque(dict):
    pass


@pytest.mark.parametrize(
    "value",
    [b"x" * NBYTES, "x" * NBYTES, Opaque(a=np.zeros(500_000)), np.array([lambda: 0] * 200_000, dtype=object)],
    ids=["bytes", "text", "a type of the user's", "objects"],
)
def test_what_cannot_be_shared_stays_as_it_is(early, value):
    assert early.place("k", "f", value, NBYTES) is value


def test_what_raises_when_it_is_pickled_stays_as_it_is(early):
    class Stubborn:
        def __reduce__(self):
            raise ValueError("no")

    value = np.array([Stubborn()] * 10, dtype=object)
    assert early.place("k", "f", value, NBYTES) is value


@pytest.mark.parametrize("mode", ["off", "writable"])
def test_in_other_modes_nothing_is_shared_early(mode):
    early, value = EarlySharing(Exchange(mode)), array()
    early.place("first", "f", value, NBYTES)
    early.asked("first")
    assert early.place("k", "f", value, NBYTES) is value


def test_a_small_result_says_nothing(early):
    early.place("small", "f", 1, 28)
    early.dropped(["small"])
    assert in_segment(early.place("k", "f", array(), NBYTES))


@pytest.mark.expect_log("no room")
def test_without_room_it_stays_as_it_is():
    early = EarlySharing(Exchange("read-only", may_take=lambda nbytes: False))
    value = array()
    early.place("first", "f", value, NBYTES)
    early.asked("first")
    assert early.place("k", "f", value, NBYTES) is value


def test_what_is_never_dropped_is_not_remembered_for_ever(early, monkeypatch):
    monkeypatch.setattr(early_module, "_MOST_REMEMBERED", 10)
    for number in range(100):
        early.place(f"k{number}", "g", array(), NBYTES)
    assert len(early._makers) <= 10
