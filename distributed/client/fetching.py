"""Bringing results to the client: inline ones are here, others come from the workers that hold
them.

A worker that cannot be reached from here, or is gone, is not the end: other holders are tried, then
the scheduler is asked who has the key now, then it is asked to relay the data.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from distributed.client.session import Session
from distributed.client.table import KeyState, Remote, exception_of
from distributed.client.waiters import Countdown, LoopWaker
from distributed.errors import CommError, DistributedError, RequestTimeoutError, TaskError, WorkerLostError
from distributed.payloads import Payload
from distributed.sharing.requests import request_data
from distributed.wire.payload import loads

__all__ = ["Fetched", "fetch", "load_result"]

logger = logging.getLogger(__name__)

_BYTES_PER_REQUEST: Final = 2**26
_KEYS_PER_REQUEST: Final = 2000
_REQUESTS_AT_ONCE: Final = 32
_ROUNDS: Final = 8
_FIRST_PAUSE_S: Final = 0.02
_REQUEST_TIMEOUT_S: Final = 120.0


def load_result(key: str, payload: Payload) -> Any:
    """Return the value in a payload.

    Raises TaskError, naming the key, if it cannot be unpickled in this process.
    """
    try:
        return loads(payload)
    except TaskError:  # whoever pickled it says why it could not
        raise
    except Exception as error:
        raise _cannot_load(key, error) from error


def _cannot_load(key: str, error: Exception) -> TaskError:
    """Return the error that says that the result of ``key`` cannot be unpickled because of ``error``."""
    version = ".".join(map(str, sys.version_info[:3]))
    return TaskError(
        f"the result of {key} cannot be unpickled here (Python {version}): {type(error).__name__}: {error}; "
        "are the same modules and versions installed here and there?",
        key=key,
        type_name=type(error).__qualname__,
    )


class Fetched:
    """What :func:`fetch` brought: ``payloads`` by key, and ``errors`` by key for what failed
    instead.
    """

    __slots__ = ("errors", "payloads")

    def __init__(self) -> None:
        self.payloads: dict[str, Payload] = {}
        self.errors: dict[str, BaseException] = {}

    def take(self, state: KeyState) -> bool:
        """Note the outcome of a key if it is here; return whether it was."""
        detail, status = state.detail, state.status
        if status == "finished" and isinstance(detail, bytes | list):
            self.payloads[state.key] = detail
            return True
        if status in ("error", "lost", "cancelled"):
            error = exception_of(state)
            if error is not None:
                self.errors[state.key] = error
                return True
        return False


async def fetch(session: Session, states: Iterable[KeyState]) -> Fetched:
    """Return the results of keys, each as a payload or the exception it ended with.

    Waits for keys that are pending (or become so, because their holder died).  A key that nobody
    can deliver has a CommError naming the workers tried.
    """
    got = Fetched()
    open_states = {state.key: state for state in states if not got.take(state)}
    pause_s = _FIRST_PAUSE_S
    for attempt in range(_ROUNDS):
        await _all_ended(session, list(open_states.values()))
        _settle(got, open_states)
        await _from_workers(session, got, open_states)
        if open_states:
            await _relayed(session, got, open_states)
        if not open_states:
            break
        if session.ended is not None:
            _give_up(got, open_states, session.ended)
            break
        if attempt < _ROUNDS - 1:
            await asyncio.sleep(pause_s)  # the scheduler is about to hear that a worker died
            pause_s *= 2
    _give_up(got, open_states, None)
    return got


def _settle(got: Fetched, open_states: dict[str, KeyState]) -> None:
    for key in [key for key, state in open_states.items() if got.take(state)]:
        del open_states[key]


def _give_up(got: Fetched, open_states: dict[str, KeyState], reason: CommError | None) -> None:
    for key, state in open_states.items():
        workers = state.detail.workers if isinstance(state.detail, Remote) else []
        tried = ", ".join(workers) or "any worker"
        if reason is not None:
            got.errors[key] = type(reason)(f"cannot fetch {key} from {tried}: {reason}", address=reason.address)
        else:
            got.errors[key] = WorkerLostError(
                key, workers, f"cannot fetch {key}: neither {tried} nor the scheduler delivers it"
            )
    open_states.clear()


async def _all_ended(session: Session, states: Sequence[KeyState]) -> None:
    waker = LoopWaker()
    countdown = Countdown(len(states), waker.wake)
    with session.lock:
        if all(state.status != "pending" for state in states):
            return
        countdown.watch(states)
    try:
        await waker.wait()
    finally:
        with session.lock:
            countdown.unwatch(states)


def _requests(open_states: dict[str, KeyState]) -> list[tuple[str, list[str], int]]:
    """Group keys by a worker that holds them, in requests of bounded size: worker, keys, bytes."""
    by_worker: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for key, state in open_states.items():
        if isinstance(state.detail, Remote) and state.detail.workers:
            holders = state.detail.workers
            # Several holders share the load; which one is fixed by the key.
            by_worker[holders[hash(key) % len(holders)]].append((key, state.detail.nbytes))
    requests = []
    for worker, items in by_worker.items():
        keys: list[str] = []
        size = 0
        for key, nbytes in items:
            keys.append(key)
            size += nbytes
            if size >= _BYTES_PER_REQUEST or len(keys) >= _KEYS_PER_REQUEST:
                requests.append((worker, keys, size))
                keys, size = [], 0
        if keys:
            requests.append((worker, keys, size))
    return requests


async def _from_workers(session: Session, got: Fetched, open_states: dict[str, KeyState]) -> None:
    slots = asyncio.Semaphore(_REQUESTS_AT_ONCE)

    async def ask(worker: str, keys: list[str], nbytes: int) -> None:
        async with slots:
            try:
                found = await request_data(session.pool, worker, keys, nbytes, session.exchange, _REQUEST_TIMEOUT_S)
            except DistributedError as error:
                logger.debug("could not fetch %d keys from %s: %s", len(keys), worker, error)
                return
        for key, payload in found.items():
            if open_states.pop(key, None) is not None:
                got.payloads[key] = payload

    await asyncio.gather(*(ask(*request) for request in _requests(open_states)))


async def _relayed(session: Session, got: Fetched, open_states: dict[str, KeyState]) -> None:
    """Ask the scheduler to deliver what no known holder did; learn the current holders on the
    way.
    """
    keys = [key for key, state in open_states.items() if state.status == "finished"]
    if not keys or session.ended is not None:
        return
    try:
        found = await session.pool.request(session.scheduler_address, "gather", timeout_s=_REQUEST_TIMEOUT_S, keys=keys)
        holders = await session.request("who_has", patience_s=_REQUEST_TIMEOUT_S, keys=keys)
    except (CommError, RequestTimeoutError) as error:
        logger.debug("the scheduler did not relay %d keys: %s", len(keys), error)
        return
    for key, payload in found.items():
        if open_states.pop(key, None) is not None:
            got.payloads[key] = payload
    for key, state in open_states.items():
        if isinstance(state.detail, Remote) and holders.get(key):
            state.detail = Remote(holders[key], state.detail.nbytes)
