"""The calls of one ``map``: named and pickled batch by batch, and sent as columns where that is possible."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from distributed.calls import Each
from distributed.client.functions import Function
from distributed.client.keys import TokenSource, token_of
from distributed.client.options import make_options
from distributed.client.session import Session
from distributed.client.snapshots import detached
from distributed.client.table import KeyState
from distributed.messages import TaskOptions, TaskSpec
from distributed.payloads import Payload
from distributed.wire.payload import dumps_call, dumps_plain_calls

__all__ = ["CALLS_PER_BATCH", "Calls", "checked_key", "in_batches", "numbers_at_once"]

CALLS_PER_BATCH: Final = 500
"""So many calls are named and pickled before the first go: so few that the workers begin while the rest is prepared."""
_MOST_CALLS: Final = 4 * CALLS_PER_BATCH
"""The later ones go in larger batches, which cost less: the workers have something to do."""
_FEWEST_PER_BATCH: Final = 8
"""Of tasks that are many calls each."""
_MOST_BYTES: Final = 2**23
_NO_KEYS: Final[list[str]] = []


def checked_key(key: Any) -> Any:
    """Return the name of a task or None as it is; raises TypeError for what can be no key."""
    if key is not None and (not isinstance(key, str) or not key):
        raise TypeError(f"a key is a string that is not empty, not {key!r}")
    return key


def numbers_at_once(batch_size: int | None) -> Iterator[int]:
    """Yield how many tasks of a map, each of ``batch_size`` calls, are prepared before they go."""
    number, most = (max(_FEWEST_PER_BATCH, calls // (batch_size or 1)) for calls in (CALLS_PER_BATCH, _MOST_CALLS))
    while True:
        yield number
        number = min(2 * number, most)


def in_batches(
    function: Callable[..., Any], iterables: Sequence[Iterable[Any]], size: int, kwargs: dict[str, Any]
) -> tuple[Each, Iterator[tuple[Any, ...]]]:
    """Return the function of a whole batch of calls, and its arguments batch by batch.

    A range stays a range, which is small however long it is.  Raises ValueError for a size below 1 and TypeError for a
    coroutine function.
    """
    if size < 1:
        raise ValueError(f"batch_size is 1 or more, not {size}")
    if inspect.iscoroutinefunction(function):
        raise TypeError("batch_size does not go with a coroutine function: call it without")
    return Each(function, kwargs), _columns(iterables, size)


def _columns(iterables: Sequence[Iterable[Any]], size: int) -> Iterator[tuple[Any, ...]]:
    parts = [_slices(items, size) for items in iterables]
    while True:
        columns = tuple([next(part, ()) for part in parts])
        shortest = min(map(len, columns))
        if not shortest:
            return
        yield tuple([column[:shortest] for column in columns])
        if shortest < size:
            return


def _slices(items: Iterable[Any], size: int) -> Iterator[Any]:
    if isinstance(items, range):
        yield from (items[start : start + size] for start in range(0, len(items), size))
        return
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


class Calls:
    """Calls of one function: ``first`` come before the arguments of each, ``kwargs`` are the same in all.

    ``names`` are their keys, one after the other; None: made from the content of the calls, or from ``tokens`` if the
    function is not pure (then ``tokens`` is not None).
    """

    def __init__(
        self,
        packed: Function,
        first: tuple[Any, ...],
        kwargs: dict[str, Any],
        tokens: TokenSource | None,
        names: Iterator[Any] | None,
    ) -> None:
        self._packed = packed
        self._first = first
        self._kwargs = kwargs
        self._tokens = tokens
        self._names = names

    def send(
        self, session: Session, batch: list[tuple[Any, ...]], options: TaskOptions | None, places: _Places
    ) -> list[KeyState]:
        """Send the calls with these arguments.  Raises what the pickling of an argument raises."""
        first, kwargs = self._first, self._kwargs
        calls = [first + args for args in batch] if first else batch
        plain = None if kwargs else dumps_plain_calls(calls)
        if plain is not None:
            payloads: Sequence[Payload] = plain
            needs = [_NO_KEYS] * len(plain)
        else:
            pairs = [dumps_call(args, kwargs) for args in calls]
            payloads = [payload for payload, _ in pairs]
            needs = [dependencies for _, dependencies in pairs]
        keys = self._keys(payloads, needs)
        if options is None and places is None and _are_small(payloads) and not any(needs):
            return session.submit_block(keys, payloads, self._packed)
        specs = [
            TaskSpec(key, self._packed.id, detached(payload), dependencies, options)
            for key, payload, dependencies in zip(keys, payloads, needs, strict=True)
        ]
        if places is not None:
            _place(specs, *places)
        return session.submit(specs, self._packed)

    def _keys(self, payloads: Sequence[Payload], needs: list[list[str]]) -> list[str]:
        if self._names is not None:
            keys = list(islice(self._names, len(payloads)))
            if len(keys) < len(payloads):
                raise ValueError("map was given fewer keys than calls")
            return keys
        front, tokens = f"{self._packed.name}-", self._tokens
        if tokens is not None:
            return tokens.many(front, len(payloads))
        start = self._packed.id.encode()
        return [front + token_of(start, *call) for call in zip(payloads, needs, strict=True)]


_Places = tuple[Iterator[Any], dict[str, Any]] | None


def _are_small(payloads: Sequence[Payload]) -> bool:
    """Whether all these together can go as one message."""
    return set(map(type, payloads)) == {bytes} and sum(map(len, payloads)) < _MOST_BYTES


def _place(specs: list[TaskSpec], places: Iterator[Any], options: dict[str, Any]) -> None:
    for spec in specs:
        names = next(places, None)
        if names is None:
            raise ValueError("map was given fewer lists of workers than calls")
        spec.options = make_options(workers=names, **options)
