"""Addresses, and calls that Python itself may lack."""

from __future__ import annotations

import numpy as np
import pytest

from distributed.sharing.memory import address_of, libc


def test_addresses_are_those_that_numpy_says():
    array = np.zeros(100)
    for part in (array, array[7:]):
        assert address_of(part) == part.__array_interface__["data"][0]
        assert address_of(memoryview(part).toreadonly()) == part.__array_interface__["data"][0]


def test_the_buffer_is_let_go():
    data = bytearray(100)
    address_of(data)
    data.extend(b"more")


def test_an_error_of_the_c_library_is_an_os_error():
    assert libc("getpid") > 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        libc("close", 99999)
    with pytest.raises(OSError, match="has no no_such_function"):
        libc("no_such_function")
