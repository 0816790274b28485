"""The memory of another process."""

from __future__ import annotations

import os

import psutil

from distributed.nanny import memory


def test_it_is_what_others_measure():
    ours = memory.resident_bytes_of(os.getpid())
    theirs = psutil.Process().memory_info().rss
    assert abs(ours - theirs) < 0.1 * theirs


def test_a_process_that_is_gone_has_none():
    assert memory.resident_bytes_of(2**22 + 1) == 0


def test_the_portable_way_says_the_same():
    ours, portable = memory.resident_bytes_of(os.getpid()), memory._portable(os.getpid())
    assert abs(ours - portable) < 0.1 * ours
    assert memory._portable(2**22 + 1) == 0
