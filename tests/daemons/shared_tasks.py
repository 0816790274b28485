"""Tasks and measurements for the tests of shared memory, run in workers."""

from __future__ import annotations

import os
import time

import numpy as np

from distributed import get_worker, shared_empty
from distributed.sharing.segments import locate
from tests.holders import held

NUMBERS = 500_000


def make(seed=0.0, numbers=NUMBERS):
    return np.arange(float(numbers)) + seed


def make_another(seed):
    """One of a function of its own, whose results nobody has asked for yet."""
    return make(seed)


def holds(key):
    """Whether this worker holds a value."""
    return key in get_worker().data


def make_in_place(seed=0.0):
    array = shared_empty(NUMBERS)
    array[:] = np.arange(float(NUMBERS)) + seed
    return array


def segment_of(array):
    """The token of the segment that an array lies in, None if in none."""
    found = locate(memoryview(array).cast("B"))
    return found and found[0].token


def look(array):
    """What a task sees of an array: sum, whether it may write, and where it lies."""
    return float(array.sum()), bool(array.flags.writeable), segment_of(array)


def write(array):
    """Write into an array, and return what is there then."""
    array[:10] = -1.0
    return float(array[:10].sum())


def same(array):
    return array


def everything(*arrays):
    return [look(array) for array in arrays]


def hold(array, seconds):
    """Look at all of an array and keep it for a while."""
    array.sum()
    time.sleep(seconds)
    return os.getpid()


def held_here():
    return held()


def anonymous_bytes():
    """Private memory of this process."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def where_held(key):
    """The token of the segment that a value of this worker lies in."""
    return segment_of(get_worker().data[key])


class _Unpicklable:
    nbytes = 10_000_000

    def __reduce__(self):
        raise TypeError("not this one")


def make_unpicklable():
    return _Unpicklable()
