"""Data between workers: asking peers for copies, and serving what others ask for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, NoReturn

from distributed.errors import CommError, RequestTimeoutError, TaskError
from distributed.payloads import Payload
from distributed.pool import ConnectionPool
from distributed.sharing.exchange import THRESHOLD, Exchange, Shared
from distributed.sharing.requests import request_data
from distributed.sharing.segments import in_segments
from distributed.wire.payload import dumps, payload_nbytes
from distributed.worker.background import in_thread
from distributed.worker.early import QUICK, EarlySharing, is_plain
from distributed.worker.events import Fetched, PeerFailed
from distributed.worker.held import Held
from distributed.worker.running import unpicklable
from distributed.worker.store import PICKLED, Pickled, Placed, Store

__all__ = ["SERVED_AT_ONCE", "DataServer", "arrived", "fetch", "raise_unpicklable"]

logger = logging.getLogger(__name__)

SERVED_AT_ONCE = 32
"""Requests for data that are pickled at the same time; more wait."""
_PATIENCE_S = 120.0
_SLOWEST_BYTES_PER_S = 1_000_000


async def fetch(
    pool: ConnectionPool, address: str, keys: list[str], nbytes: int = 0, exchange: Exchange | None = None
) -> Fetched | PeerFailed:
    """Ask the worker at ``address`` for copies of ``keys``, about ``nbytes`` together.  Never
    raises.

    With an ``exchange``, a worker on this host need not send what it can share.

    A connection that breaks is tried once more; a peer that does not answer within two minutes,
    plus a second per megabyte, counts as gone: a stopped process would answer never.
    """
    timeout_s = _PATIENCE_S + nbytes / _SLOWEST_BYTES_PER_S
    problem: Exception | None = None
    for _ in range(2):
        try:
            payloads = await request_data(pool, address, keys, nbytes, exchange, timeout_s)
        except RequestTimeoutError as error:
            problem = error
            break
        except CommError as error:
            problem = error
            continue
        except Exception as error:  # noqa: BLE001 - whatever it raised there, it gave no data
            problem = error
            break
        return _fetched(address, payloads)
    logger.warning("could not fetch %d keys from %s: %s", len(keys), address, problem)
    return PeerFailed(address)


def _fetched(address: str, payloads: dict[str, Payload]) -> Fetched:
    sizes = {key: payload_nbytes(payload) for key, payload in payloads.items()}
    return Fetched(address, sizes, {key: arrived(payload) for key, payload in payloads.items()})


def arrived(payload: Payload) -> Pickled:
    """Return what stands for the value of a payload that came from elsewhere."""
    return Placed(payload) if in_segments(payload) else Pickled(payload)


def raise_unpicklable(message: str, key: str, type_name: str) -> NoReturn:
    """Raise the TaskError that takes the place of a value that could not be pickled."""
    raise TaskError(message, key=key, type_name=type_name)


class _Raises:
    """Pickles to a call of :func:`raise_unpicklable`, so that whoever unpickles it gets the
    error.
    """

    def __init__(self, error: TaskError) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return raise_unpicklable, (str(self._error), self._error.key, self._error.type_name)


def _pickled(key: str, value: Any) -> Payload:
    if isinstance(value, Pickled):
        return value.payload
    try:
        return dumps(value)
    except Exception as error:  # noqa: BLE001 - user code: whatever __reduce__ raises
        return dumps(_Raises(unpicklable(key, value, error)))


def _pickle_all(wanted: dict[str, Held]) -> dict[str, Payload]:
    return {key: _pickled(key, held.value) for key, held in wanted.items()}


class DataServer:
    """Serves the values of ``store``; pickling runs in a helper thread, arrays are not copied.

    With an ``exchange``, readers on this host are told where large values lie in shared memory,
    where each is put when it is first asked for, if it was not put there early.
    """

    def __init__(self, store: Store, exchange: Exchange | None = None, early: EarlySharing | None = None) -> None:
        self._store = store
        self._exchange = exchange
        self._early = early
        self._slots = asyncio.Semaphore(SERVED_AT_ONCE)
        self._underway: dict[int, asyncio.Task[Payload]] = {}

    async def get(self, keys: Iterable[str], place: str = "") -> dict[str, Payload]:
        """Return the payloads of those of ``keys`` that are here, for a reader at ``place``."""
        here = self._store.held
        wanted = {key: here[key] for key in keys if key in here}
        large = []
        if place and self._exchange is not None and self._exchange.accepts(place):
            large = [key for key, held in wanted.items() if held.nbytes >= THRESHOLD]
        shared = {key: await self._shared(key, wanted.pop(key)) for key in large}
        return {**shared, **await self._payloads(wanted)}

    async def _payloads(self, wanted: dict[str, Held]) -> dict[str, Payload]:
        if all(type(held.value) in QUICK or type(held.value) in PICKLED for held in wanted.values()):
            return _pickle_all(wanted)
        async with self._slots:
            return await in_thread(_pickle_all, wanted)

    async def _shared(self, key: str, held: Held) -> Payload:
        """Put a value into shared memory, once however many ask for it at the same time."""
        task = self._underway.get(id(held))
        if task is None:
            task = self._underway[id(held)] = asyncio.ensure_future(self._share(key, held))
            task.add_done_callback(lambda _: self._underway.pop(id(held)))
        return await asyncio.shield(task)

    async def _share(self, key: str, held: Held) -> Payload:
        """What is in shared memory takes the place of the value, whose memory is free then, or is kept beside it."""
        value, known = held.value, held.exported
        async with self._slots:
            payload, shared = await in_thread(self._shared_form, key, value, known)
        if shared is None:
            return payload
        if held.value is value:  # else a task has unpickled it meanwhile, and others may have that object
            if self._exchange is not None and self._exchange.mode == "read-only" and is_plain(value):
                held.value, held.exported = Placed(shared.kept), None
            else:
                held.exported = shared.kept
        if self._early is not None:
            self._early.asked(key)
        return shared.travels

    def _shared_form(self, key: str, value: Any, known: Payload | None) -> tuple[Payload, Shared | None]:
        assert self._exchange is not None
        payload = _pickled(key, value) if known is None else known
        return payload, self._exchange.share(payload)
