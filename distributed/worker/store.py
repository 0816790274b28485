"""The data that a worker holds: values by key, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from distributed.payloads import Payload
from distributed.wire.payload import loads
from distributed.worker.held import Held

__all__ = ["PICKLED", "Pickled", "Placed", "Store", "load"]

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
    """A mapping of values by key.

    ``held`` may be read from any thread; its keys change on the loop, by the decisions of the machine.
    """

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}

    def __len__(self) -> int:
        return len(self.held)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.held))

    def __contains__(self, key: object) -> bool:
        return key in self.held

    def __getitem__(self, key: str) -> Any:
        return load(self.held[key])

    @property
    def nbytes(self) -> int:
        """The sizes of all values together, in bytes."""
        return sum([held.nbytes for held in self.held.values()])


def load(held: Held) -> Any:
    """Return the value.  Raises whatever its unpickling raises."""
    value = held.value
    if type(value) is Placed:
        return value.load()
    if type(value) is Pickled:
        value = loads(value.payload)
        held.value, held.exported = value, None  # that was of what was not unpickled
    return value
