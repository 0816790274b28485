"""Results in the places of their futures: the steps of :meth:`Client.gather` between and after its waits.

Most results came along with the news that they are there, so they are read by position, each once; a table by key would
cost more than the reading.
"""

from __future__ import annotations

from typing import Any, Final

from distributed.client.fetching import Fetched, load_result
from distributed.client.future import Future
from distributed.client.structures import MISSING, fill, find_futures
from distributed.client.table import KeyState, exception_of
from distributed.client.waiting import ALL_COMPLETED, FIRST_EXCEPTION
from distributed.errors import RequestTimeoutError, TaskError
from distributed.payloads import Payload
from distributed.wire.payload import loads_plain

__all__ = ["Gathering"]

_TOGETHER: Final = 1000
"""Results that are read at once."""


class Gathering:
    """The results of the ``futures`` in a ``structure``; ``errors`` is ``"raise"`` or ``"skip"``.

    ``until`` says what to wait for before :meth:`take`.
    """

    def __init__(self, structure: Any, errors: str) -> None:
        # Most are given in a list; what can be done before the results are there need not be done after.
        self._is_flat = type(structure) is list and set(map(type, structure)) == {Future}
        self.futures = list(structure if self._is_flat else find_futures(structure))
        self.until = FIRST_EXCEPTION if errors == "raise" else ALL_COMPLETED
        self._structure = structure
        self._skip = errors == "skip"
        self._states = list(dict.fromkeys([future._state for future in self.futures]))
        self._payloads: list[Payload | None] = []

    def take(self, timeout: float | None, left: float | None) -> list[KeyState]:
        """Take what is here; return the keys whose results are to be fetched.

        Raises the first error, or RequestTimeoutError if some are pending and of the ``timeout`` nothing is ``left``: a
        result may be lost again while others are awaited.
        """
        states = self._states
        details = [state.detail for state in states]
        if set(map(type, details)) == {bytes}:  # results, all of them
            self._payloads = details
            return []
        payloads = self._payloads
        absent: list[KeyState] = []
        for state in states:
            detail = state.detail  # before the status: another thread sets them in this order
            if (type(detail) is bytes or type(detail) is list) and state.status == "finished":
                payloads.append(detail)
                continue
            if not self._skip and (error := exception_of(state)) is not None:
                raise error
            payloads.append(None)
            absent.append(state)
        if left is not None and left <= 0 and (pending := sum(state.status == "pending" for state in states)):
            raise RequestTimeoutError(f"{pending} of {len(states)} results are not there after {timeout:g} s")
        return absent

    def add(self, fetched: Fetched) -> None:
        """Take what was fetched.  Raises the first error."""
        for place, state in enumerate(self._states):
            if self._payloads[place] is None:
                self._payloads[place] = fetched.payloads.pop(state.key, None)
                if not self._skip and (error := fetched.errors.get(state.key)) is not None:
                    raise error

    def filled(self) -> Any:
        """Return the structure with the results; None if it is a future whose result is skipped.

        Raises TaskError for a result that cannot be unpickled.
        """
        values = self._load()
        if len(values) < len(self.futures):  # some are given more than once
            by_state = dict(zip(self._states, values, strict=True))
            values = [by_state[future._state] for future in self.futures]
        if self._is_flat and not self._skip:
            return values
        filled = fill(self._structure, iter(values))
        return None if filled is MISSING else filled

    def _load(self) -> list[Any]:
        values: list[Any] = []
        reading = self._payloads[::-1]
        self._payloads = []
        while reading:
            some = reading[: -_TOGETHER - 1 : -1]
            del reading[-_TOGETHER:]
            if (plain := loads_plain(some)) is not None:
                values += plain
                continue
            some.reverse()
            while some:  # a payload goes as it is read, so that not all are there twice
                values.append(self._load_one(len(values), some.pop()))
        return values

    def _load_one(self, place: int, payload: Payload | None) -> Any:
        if payload is None:
            return MISSING
        try:
            return load_result(self._states[place].key, payload)
        except TaskError:
            if not self._skip:
                raise
            return MISSING
