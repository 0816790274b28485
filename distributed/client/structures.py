"""Futures in nested lists, tuples, sets and dicts: finding them, and putting results in their
places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from distributed.client.future import Future

__all__ = ["MISSING", "fill", "find_futures"]

MISSING: Final = object()
"""Stands for a result that is left out of its container."""


def find_futures(structure: Any) -> Iterator[Future]:
    """All futures in a structure, in order, repeated ones repeatedly."""
    if isinstance(structure, Future):
        yield structure
    elif isinstance(structure, dict):
        for value in structure.values():
            yield from find_futures(value)
    elif isinstance(structure, list | tuple | set | frozenset):
        for value in structure:
            if isinstance(value, Future):  # the common case, without a generator for each
                yield value
            else:
                yield from find_futures(value)


def fill(structure: Any, value_of: Callable[[Future], Any]) -> Any:
    """Return the structure with each future replaced by its value; MISSING ones are left out of
    containers.
    """
    if isinstance(structure, Future):
        return value_of(structure)
    if isinstance(structure, dict):
        filled = ((key, fill(value, value_of)) for key, value in structure.items())
        return {key: value for key, value in filled if value is not MISSING}
    if isinstance(structure, list | tuple | set | frozenset):
        values = [value for item in structure if (value := fill(item, value_of)) is not MISSING]
        if hasattr(structure, "_fields"):  # a named tuple
            return type(structure)(*values)
        return type(structure)(values) if type(structure) is not list else values
    return structure
