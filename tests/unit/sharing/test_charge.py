"""Memory that several processes hold is charged to each by its part."""

from __future__ import annotations

import os

import numpy as np
import pytest

from distributed.sharing import charge
from distributed.sharing.charge import charged_bytes
from distributed.sharing.segments import fill, live, populate_all
from distributed.worker.memory import resident_bytes

NBYTES = 64_000_000


@pytest.fixture
def segment():
    segment, _ = fill([memoryview(np.ones(NBYTES // 8)).cast("B")])
    populate_all()
    return segment


def with_child(look):
    """What ``look()`` returns while another process holds all that this one has."""
    ready, ended = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        for segment in live():  # a child has no page tables of shared files yet
            segment.populate()
        os.write(ready[1], b"x")
        os.close(ended[1])
        os.read(ended[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        return look()
    finally:
        os.close(ended[1])
        os.waitpid(pid, 0)
        for fd in (*ready, ended[0]):
            os.close(fd)


def test_alone_all_of_it_counts(segment):
    resident = resident_bytes()
    assert resident - charged_bytes(resident) < NBYTES / 10


def test_of_two_holders_each_has_a_half(segment):
    resident, charged = with_child(lambda: (resident_bytes(), charged_bytes(resident_bytes())))
    assert NBYTES * 0.4 < resident - charged < NBYTES * 0.6


def test_an_old_system_tells_less(segment, monkeypatch):
    fields = {"status": {"RssShmem": NBYTES}, "smaps_rollup": {"Pss": 1000}}
    monkeypatch.setattr(charge, "_fields", lambda pid, file: fields[file])
    assert charged_bytes(5000) == 1000
    fields["smaps_rollup"] = {}  # or nothing at all
    assert charged_bytes(5000) == 5000


def test_a_process_that_is_gone_is_charged_what_was_resident():
    assert charged_bytes(5000, 2**22 + 1) == 5000
