"""Arrays made in shared memory."""

from __future__ import annotations

import numpy as np
import pytest

from distributed import shared_empty
from distributed.errors import SharedMemoryError
from distributed.sharing import arrays
from distributed.sharing.exchange import Exchange
from distributed.sharing.segments import locate
from distributed.wire.payload import dumps, loads


def is_shared(array):
    return locate(memoryview(array).cast("B")) is not None


def test_it_is_an_array_to_write_to_and_is_handed_on_without_a_copy():
    array = shared_empty((1000, 300), "f4")
    assert (array.shape, array.dtype, array.flags.writeable) == ((1000, 300), np.float32, True)
    array[:] = 3
    exchange = Exchange("read-only")
    travels, _ = exchange.share(dumps(array))
    back = loads(exchange.adopt(travels))
    assert np.shares_memory(array, back)
    assert (back == 3).all()


def test_a_small_one_is_an_ordinary_one():
    assert not is_shared(shared_empty(1000))


@pytest.mark.parametrize("why", ["off", "no memory"])
def test_so_is_one_for_which_there_is_no_shared_memory(why, monkeypatch):
    def fail(nbytes):
        raise SharedMemoryError("none")

    if why == "off":
        monkeypatch.setenv("DLAUNCH_SHARED_MEMORY", "off")
    else:
        monkeypatch.setattr(arrays, "make_room", fail)
    array = shared_empty(1_000_000)
    array[:] = 1
    assert not is_shared(array)


def test_objects_cannot_be_shared():
    with pytest.raises(ValueError, match="holds Python objects"):
        shared_empty(10, object)


def test_others_in_the_same_process_see_it_read_only():
    array = shared_empty(1_000_000)
    exchange = Exchange("read-only")
    travels, kept = exchange.share(dumps(array))
    assert not loads(exchange.adopt(travels)).flags.writeable
    assert not loads(kept).flags.writeable
    array[0] = 1.0
