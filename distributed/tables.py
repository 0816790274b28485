"""Tables of many entries."""

from __future__ import annotations

from typing import Any

__all__ = ["shrink"]


def shrink(table: dict[Any, Any]) -> None:
    """Let a table that has become empty start small again.

    A dict keeps the room that its entries had.  After a million of them each look-up among ten thousand still misses
    the processor's caches, which made every later task cost a fifth more.
    """
    if not table:
        table.clear()
