"""How much memory this process has in use."""

from __future__ import annotations

import psutil

from distributed.worker import memory
from distributed.worker.memory import charged_memory, give_back_memory, resident_bytes


def test_resident_bytes_are_what_the_system_says():
    assert abs(resident_bytes() - psutil.Process().memory_info().rss) < 20e6


def test_memory_is_given_back():
    blocks = [bytes(100_000) for _ in range(1000)]
    with_blocks = resident_bytes()
    blocks.clear()
    give_back_memory()
    assert resident_bytes() < with_blocks - 50e6


def test_memory_that_is_shared_is_counted_by_parts_above_a_limit(monkeypatch):
    monkeypatch.setattr(memory, "resident_bytes", lambda: 1000)
    monkeypatch.setattr(memory, "charged_bytes", lambda resident: resident // 4)
    assert charged_memory(999) == 250
    assert charged_memory(1000) == 1000
