"""Results that are put into shared memory as their task ends, before anybody asks for them.

A large result is copied there when a process of this host first asks for it, because most are never asked for; whoever
asks first waits for the copy.  But what travelled once travels again: a program runs the same steps over many pieces.
So if the last large result of a function was asked for, its next one is copied by the thread that made it.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

from distributed.sharing.exchange import THRESHOLD, Exchange
from distributed.wire.payload import dumps
from distributed.worker.store import PICKLED, Placed

__all__ = ["QUICK", "EarlySharing", "is_plain"]

QUICK: Final = frozenset({int, float, bool, complex, type(None), str, bytes, bytearray})
"""Types that are pickled at once."""
_FEW: Final = 100
_MOST_REMEMBERED: Final = 10_000


def is_plain(value: Any, depth: int = 2) -> bool:
    """Whether a value is the same after a journey: arrays, and plain containers of a few of them."""
    kind = type(value)
    if kind in QUICK or kind in PICKLED or (kind.__name__, kind.__module__) == ("ndarray", "numpy"):
        return True
    if not depth or kind not in (list, tuple, dict) or len(value) > _FEW:
        return False
    return all(is_plain(item, depth - 1) for item in (value.values() if kind is dict else value))


class EarlySharing:
    """Learns of which functions the results travel: what became of the last one is thought of the next.

    ``place`` is called by the threads of tasks, all else on the loop.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._makers: dict[str, str] = {}
        self._travelling: set[str] = set()

    def place(self, key: str, function: str, value: Any, nbytes: int) -> Any:
        """Return the result of the task ``key`` as it is to be kept: in shared memory if it is thought to travel.

        Never raises.
        """
        if nbytes < THRESHOLD or not self._exchange.place:
            return value
        self._remember(key, function)
        if function not in self._travelling or self._exchange.mode != "read-only":
            return value
        if type(value) in QUICK or not is_plain(value):
            return value
        try:
            shared = self._exchange.share(dumps(value))
            return value if shared is None else Placed(shared.kept)
        except Exception:  # noqa: BLE001 - an array of the user's objects: who asks for it will be told
            return value

    def _remember(self, key: str, function: str) -> None:
        makers = self._makers
        makers[key] = function
        if len(makers) > _MOST_REMEMBERED:  # a task that was cancelled as it ended leaves its own for ever
            with contextlib.suppress(RuntimeError):  # another thread has just changed it
                makers.pop(next(iter(makers), ""), None)

    def asked(self, key: str) -> None:
        """A process of this host got the result of ``key`` in shared memory."""
        if (function := self._makers.pop(key, None)) is not None:
            self._travelling.add(function)

    def dropped(self, keys: list[str]) -> None:
        """These results are gone."""
        if not self._makers:
            return
        for key in keys:
            if (function := self._makers.pop(key, None)) is not None:  # nobody had asked
                self._travelling.discard(function)
