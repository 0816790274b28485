"""Functions that the client sends in the place of the user's own, kept apart so that a worker
imports little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["Each", "Nested", "evaluate", "same"]


class Nested(NamedTuple):
    """A call inside the arguments of another call, made when the outer one is."""

    function: Callable[..., Any]
    args: list[Any]


def evaluate(function: Callable[..., Any], args: list[Any]) -> Any:
    """Call ``function`` after all calls nested in ``args``, in lists of any depth."""
    return function(*map(_value, args))


def _value(item: Any) -> Any:
    if isinstance(item, Nested):
        return evaluate(item.function, item.args)
    return list(map(_value, item)) if isinstance(item, list) else item


@dataclass(frozen=True)
class Each:
    """Calls ``function``, with ``kwargs`` each time, on the items of its arguments like the builtin ``map``."""

    function: Callable[..., Any]
    kwargs: dict[str, Any]

    def __call__(self, *columns: Iterable[Any]) -> list[Any]:
        """Return the list of results."""
        if self.kwargs:
            return [self.function(*args, **self.kwargs) for args in zip(*columns, strict=False)]
        return list(map(self.function, *columns))


def same(value: Any) -> Any:
    """Return ``value``."""
    return value
