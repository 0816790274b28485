"""Futures in nested lists, tuples, sets and dicts: finding them, and putting results in their
places.
"""

from __future__ import annotations

from collections.abc import Iterator
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


def fill(structure: Any, values: Iterator[Any]) -> Any:
    """Return the structure with the futures replaced by ``values``, which come in the order of :func:`find_futures`.

    What is MISSING is left out of its container, and is MISSING if it has none.
    """
    if isinstance(structure, Future):
        return next(values)
    if isinstance(structure, dict):
        filled = ((key, fill(value, values)) for key, value in structure.items())
        return {key: value for key, value in filled if value is not MISSING}
    if isinstance(structure, list | tuple | set | frozenset):
        items = [
            value
            for item in structure
            if (value := next(values) if type(item) is Future else fill(item, values)) is not MISSING
        ]
        if hasattr(structure, "_fields"):  # a named tuple
            return type(structure)(*items)
        return type(structure)(items) if type(structure) is not list else items
    return structure
