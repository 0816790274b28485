"""The data that a worker holds: values by key, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from distributed.payloads import Payload
from distributed.wire.payload import loads

__all__ = ["PICKLED", "Pickled", "Placed", "Store"]

_NOT_LOADED: Final = object()


class Pickled:
    """A copy that came over the wire and has not been unpickled yet; the first task that needs it
    does that.

    So the user's unpickling never runs on the event loop, and data that is only passed on is never
    unpickled at all.
    """

    __slots__ = ("payload",)

    def __init__(self, payload: Payload) -> None:
        self.payload = payload


class Placed(Pickled):
    """The same, in shared memory, where the value has its arrays too: so the payload is kept beside it, and is what
    others get.

    Pickled anew, the arrays would be read-only for all, as they are here.
    """

    __slots__ = ("_value",)

    def __init__(self, payload: Payload) -> None:
        super().__init__(payload)
        self._value: Any = _NOT_LOADED

    def load(self) -> Any:
        """Return the value.  Raises whatever its unpickling raises."""
        if self._value is _NOT_LOADED:
            self._value = loads(self.payload)
        return self._value


PICKLED: Final = frozenset({Pickled, Placed})
"""What stands in the store for a value."""


class Store(Mapping[str, Any]):
    """A mapping of values by key, with their sizes in bytes (``sizes``, together ``total``).

    ``held`` may be read from any thread; it is changed on the loop, except that :meth:`load` puts
    an unpickled value in the place of its pickled form.  ``exports``: key -> the value of which
    processes of this host were told where it is, and the payload that keeps it there.
    """

    __slots__ = ("exports", "held", "sizes", "total")

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}
        self.sizes: dict[str, int] = {}
        self.exports: dict[str, tuple[Any, Payload]] = {}
        self.total = 0

    def __len__(self) -> int:
        return len(self.held)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.held))

    def __contains__(self, key: object) -> bool:
        return key in self.held

    def __getitem__(self, key: str) -> Any:
        return self.load(key)

    def put(self, values: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
        """Keep these values; an older value of the same key is replaced."""
        known = self.sizes
        for key, nbytes in sizes.items():
            self.total += nbytes - known.get(key, 0)
        known.update(sizes)
        self.held.update(values)

    def drop(self, keys: list[str]) -> None:
        """Forget these keys; unknown ones are ignored."""
        for key in keys:
            self.held.pop(key, None)
            self.total -= self.sizes.pop(key, 0)
        if self.exports:
            for key in keys:
                self.exports.pop(key, None)

    def settle(self, key: str, value: Any, kept: Payload, *, move: bool) -> None:
        """``value`` lies in shared memory now, as ``kept``: keep that as long as the key is held.

        With ``move`` it takes the place of the value, whose own memory is free then.
        """
        if self.held.get(key) is not value:
            return  # dropped or replaced meanwhile
        if move:
            self.held[key] = Placed(kept)
            self.exports.pop(key, None)
        else:
            self.exports[key] = (value, kept)

    def load(self, key: str) -> Any:
        """Return the value of ``key``.  Raises KeyError if it is not here, else whatever its
        unpickling raises.
        """
        value = self.held[key]
        if type(value) is Placed:
            return value.load()
        if type(value) is Pickled:
            pickled, value = value, loads(value.payload)
            # Unless it was dropped or replaced while the user's code ran.
            if self.held.get(key) is pickled:
                self.held[key] = value
        return value
