"""Waiting for many futures: all of them, the first of them, or one after the other as they end."""

from __future__ import annotations

import operator
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from distributed.client.defaults import owner_or_none
from distributed.client.future import Future, Owner
from distributed.client.session import Session
from distributed.client.table import KeyState
from distributed.client.waiters import Countdown, LoopWaker, ThreadWaker
from distributed.errors import DistributedError, RequestTimeoutError

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "DoneAndNotDone",
    "as_completed",
    "wait",
]

ALL_COMPLETED: Final = "ALL_COMPLETED"
FIRST_COMPLETED: Final = "FIRST_COMPLETED"
FIRST_EXCEPTION: Final = "FIRST_EXCEPTION"


_CLIENT = operator.attrgetter("_client")


class DoneAndNotDone(NamedTuple):
    """What :func:`wait` found: futures that have ended, well or not, and those that have not."""

    done: set[Future]
    not_done: set[Future]


def _countdown(futures: Sequence[Future], return_when: str, wake: Any) -> Countdown:
    """Return a watch over the futures that calls ``wake`` when ``return_when`` is fulfilled."""
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ValueError(f"return_when is ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION, not {return_when!r}")
    count = 1 if return_when == FIRST_COMPLETED else len(futures)
    return Countdown(count, wake, until_error=return_when == FIRST_EXCEPTION)


def _session_of(futures: Sequence[Future]) -> Session:
    owner = futures[0].client
    if len(set(map(_CLIENT, futures))) > 1:
        raise ValueError("these futures belong to different clients: wait for those of each client by themselves")
    session: Session = owner.session
    return session


def block(futures: Sequence[Future], timeout: float | None, return_when: str = ALL_COMPLETED) -> None:
    """Wait in this thread; returns also when ``timeout`` seconds have passed."""
    waker = ThreadWaker()
    countdown = _countdown(futures, return_when, waker.wake)
    if not futures:
        return
    session = _session_of(futures)
    session.refuse_own_thread()
    states = [future._state for future in futures]
    with session.lock:
        countdown.watch(states)
    over = False
    try:
        over = waker.wait(timeout)
    finally:
        if not over or return_when != ALL_COMPLETED:
            with session.lock:
                countdown.unwatch(states)


async def unblock(futures: Sequence[Future], timeout: float | None, return_when: str = ALL_COMPLETED) -> None:
    """The same for a coroutine."""
    waker = LoopWaker()
    countdown = _countdown(futures, return_when, waker.wake)
    if not futures:
        return
    session = _session_of(futures)
    states = [future._state for future in futures]
    with session.lock:
        countdown.watch(states)
    try:
        await waker.wait(timeout)
    finally:
        with session.lock:
            countdown.unwatch(states)


def _sorted_out(futures: Sequence[Future]) -> DoneAndNotDone:
    done = {future for future in futures if future.done()}
    return DoneAndNotDone(done, set(futures) - done)


def _owner_of(futures: Sequence[Future]) -> Owner | None:
    owner: Owner | None = futures[0].client if futures else owner_or_none()
    return owner


def wait(fs: Iterable[Future] | Future, timeout: float | None = None, return_when: str = ALL_COMPLETED) -> Any:
    """Wait for futures and return ``(done, not_done)``, sets of futures, as a named tuple.

    ``return_when``: ``ALL_COMPLETED``, ``FIRST_COMPLETED`` or ``FIRST_EXCEPTION`` (the first that
    does not end well). After ``timeout`` seconds it returns what there is.  An awaitable if the
    futures are of an asynchronous client.
    """
    futures = [fs] if isinstance(fs, Future) else list(fs)
    owner = _owner_of(futures)
    if owner is not None and owner.asynchronous:
        return _wait(futures, timeout, return_when)
    block(futures, timeout, return_when)
    return _sorted_out(futures)


async def _wait(
    futures: Sequence[Future], timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> DoneAndNotDone:
    await unblock(futures, timeout, return_when)
    return _sorted_out(futures)


class as_completed:  # noqa: N801 - the name of its model in concurrent.futures
    """Iterate over futures in the order in which they end, well or not; ``for`` and ``async for``.

    ``add`` more while iterating; a future given twice comes twice.  ``with_results`` gives pairs
    ``(future, result)`` and raises what a task raised, or with ``raise_errors=False`` gives its
    exception in the place of the result. Raises RequestTimeoutError if the iteration takes longer
    than ``timeout`` seconds.
    """

    def __init__(
        self,
        futures: Iterable[Future] = (),
        *,
        with_results: bool = False,
        raise_errors: bool = True,
        timeout: float | None = None,
    ) -> None:
        self._with_results = with_results
        self._raise_errors = raise_errors
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._waiting: dict[KeyState, list[Future]] = {}
        self._ready: deque[Future] = deque()
        self._waker: ThreadWaker | LoopWaker | None = None
        self._session: Session | None = None
        self._lock = threading.Lock()  # taken inside a client's lock, never around it
        self.update(futures)

    def notify(self, state: KeyState) -> None:
        """A key has ended."""
        with self._lock:
            self._ready.extend(self._waiting.pop(state, ()))
            waker, self._waker = self._waker, None
        if waker is not None:
            waker.wake()

    def add(self, future: Future) -> None:
        """Also wait for this future."""
        self.update([future])

    def update(self, futures: Iterable[Future]) -> None:
        """Also wait for these futures."""
        for future in list(futures):
            self._session = session = future.client.session
            with session.lock:
                self._add(future)

    def _add(self, future: Future) -> None:
        state = future._state
        with self._lock:
            known = self._waiting.setdefault(state, [])
            known.append(future)
        if len(known) > 1:
            return
        if state.status == "pending":
            state.waiters = (*state.waiters, self)
        else:
            self.notify(state)

    def __len__(self) -> int:
        with self._lock:
            return len(self._ready) + sum(map(len, self._waiting.values()))

    def count(self) -> int:
        """How many futures are still to come."""
        return len(self)

    def is_empty(self) -> bool:
        """Whether no future is to come."""
        return not self._ready and not self._waiting

    def has_ready(self) -> bool:
        """Whether the next future comes at once."""
        return bool(self._ready)

    # -- in a thread -------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._block()
        if not self._ready:
            raise StopIteration
        return self._item(self._ready.popleft())

    def _block(self) -> None:
        if self._session is not None and not self._ready:
            self._session.refuse_own_thread()
        while not self._ready and self._waiting:
            waker = ThreadWaker()
            if self._must_wait(waker) and not waker.wait(self._left()):
                raise self._too_late()

    def next_batch(self) -> list[Any]:
        """Return all that have ended, waiting for at least one; empty if there is none to come."""
        self._block()
        return [self._item(self._ready.popleft()) for _ in range(len(self._ready))]

    def batches(self) -> Iterator[list[Any]]:
        """Iterate over batches: whatever has ended meanwhile."""
        while batch := self.next_batch():
            yield batch

    def _item(self, future: Future) -> Any:
        if not self._with_results:
            return future
        try:
            return future, future.result(self._left())
        except Exception as error:  # whatever the user's task raised
            if self._raise_errors:
                raise
            return future, error

    # -- in a coroutine ----------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._ready and self._waiting:
            waker = LoopWaker()
            if self._must_wait(waker) and not await waker.wait(self._left()):
                raise self._too_late()
        if not self._ready:
            raise StopAsyncIteration
        future = self._ready.popleft()
        if not self._with_results:
            return future
        try:
            return future, await future._result(self._left())
        except Exception as error:  # whatever the user's task raised
            if self._raise_errors:
                raise
            return future, error

    # -- both --------------------------------------------------------------------------------------

    def _must_wait(self, waker: ThreadWaker | LoopWaker) -> bool:
        """Have ``waker`` woken by the next that ends, unless one has ended meanwhile."""
        with self._lock:
            if self._ready or not self._waiting:
                return False
            self._waker = waker
            return True

    def _left(self) -> float | None:
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def _too_late(self) -> DistributedError:
        return RequestTimeoutError(f"{len(self)} futures have not ended within {self._timeout:g} s")
