"""Futures: the user's hold on a key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, ClassVar, Protocol

import msgspec

from distributed.client.callbacks import CallbackThread
from distributed.client.defaults import default_owner
from distributed.client.fetching import fetch, load_result
from distributed.client.session import Session
from distributed.client.table import KeyState, Status, Waiter, exception_of
from distributed.client.waiters import Countdown, LoopWaker, ThreadWaker
from distributed.errors import RequestTimeoutError

__all__ = ["Future", "Owner", "done_already", "on_loop_of"]

_LATER: Any = None
"""What is found out when a future is made of a key only."""


class Owner(Protocol):
    """The client that futures belong to, as far as they need to know it."""

    @property
    def session(self) -> Session:
        """The connection to the scheduler; raises if there is none any more."""

    @property
    def asynchronous(self) -> bool:
        """Whether blocking methods return awaitables."""

    @property
    def callbacks(self) -> CallbackThread:
        """The thread that done-callbacks run in."""


async def on_loop_of(session: Session, coro: Any) -> Any:
    """Await a coroutine that must run on the session's loop, from whatever loop is running here."""
    if asyncio.get_running_loop() is session.loop:
        return await coro
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coro, session.loop))


class _Callback:
    """Calls a function with a future when its key has ended."""

    __slots__ = ("_callbacks", "_function", "_future")

    def __init__(self, future: Future, function: Callable[[Future], Any], callbacks: CallbackThread) -> None:
        self._future = future
        self._function = function
        self._callbacks = callbacks

    def notify(self, state: KeyState) -> None:  # noqa: ARG002 - there is only one
        self._callbacks.call(self._function, self._future)


class Future(msgspec.Struct, eq=False, gc=False):
    """A result that is being computed, or lies on the cluster.

    Made by :meth:`Client.submit` and its kin.  Give it to further tasks as an argument, at any
    depth, to use the result there; ask for the result here with :meth:`result` or ``await``.  The
    cluster keeps the result for as long as somebody holds a future of it.

    ``Future(key)`` is a hold on a key that somebody else submitted.  A copy is another hold.
    """

    # A record, made by the million: it costs half of what an object with an initializer does, and the garbage collector
    # does not pass over it.  Weak references it cannot have for that.
    __dlaunch_key__: ClassVar[bool] = True
    key: str
    """The task's name on the scheduler.  No property: a call may have hundreds of futures among its arguments."""
    _client: Any = None
    _state: KeyState = _LATER

    def __post_init__(self) -> None:
        if self._state is _LATER:
            if self._client is None:
                self._client = default_owner()
            self._state = self._client.session.want(self.key)

    def __repr__(self) -> str:
        state = self._state
        kind = f", type: {state.type_name}" if state.type_name else ""
        return f"<Future: status: {state.status}{kind}, key: {state.key}>"

    def __del__(self) -> None:
        try:
            session = self._client._session
            if session is not None and self._state is not _LATER:
                session.forget(self._state)
        except AttributeError:
            pass  # never completely made

    def __reduce__(self) -> tuple[Any, ...]:
        return Future, (self.key,)

    def __copy__(self) -> Future:
        return Future(self.key, self._client)

    # -- what is known -----------------------------------------------------------------------------

    @property
    def client(self) -> Any:
        """The client that this future belongs to."""
        return self._client

    @property
    def status(self) -> Status:
        """One of pending, finished, error, lost (scattered data whose worker died, or the scheduler
        is gone), cancelled.
        """
        return self._state.status

    @property
    def type(self) -> str:
        """The name of the result's type once it is known, else an empty string."""
        return self._state.type_name

    def done(self) -> bool:
        """Whether the task has ended, well or not."""
        return self._state.status != "pending"

    def cancelled(self) -> bool:
        """Whether the task was cancelled."""
        return self._state.status == "cancelled"

    # -- waiting -----------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> Any:
        """Return the result, waiting for it up to ``timeout`` seconds; an awaitable from an
        asynchronous client.

        Raises what the task raised; CancelledError, KilledWorker or WorkerLostError where that is
        what happened; ConnectionLostError if the scheduler is gone; RequestTimeoutError after
        ``timeout`` seconds.
        """
        if self._client.asynchronous:
            return self._result(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        self._block(timeout)
        state = self._state
        detail = state.detail
        if state.status == "finished" and isinstance(detail, bytes | list):
            return load_result(state.key, detail)
        if state.status in ("pending", "finished"):
            left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
            session = self._client.session
            return _outcome(session.run(fetch(session, [state]), left), state.key)
        raise _failure(state)

    async def _result(self, timeout: float | None = None) -> Any:
        try:
            return await asyncio.wait_for(self._result_here(), timeout)
        except asyncio.TimeoutError as error:
            if self.done():
                raise
            raise _too_late(self._state.key, timeout) from error

    async def _result_here(self) -> Any:
        await self._wait(None)
        state = self._state
        if state.status == "finished" and isinstance(state.detail, bytes | list):
            return load_result(state.key, state.detail)
        if state.status not in ("pending", "finished"):
            raise _failure(state)
        session = self._client.session
        return _outcome(await on_loop_of(session, fetch(session, [state])), state.key)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._result_here().__await__()

    def exception(self, timeout: float | None = None) -> Any:
        """Return what the task raised, None if it ended well; waits like :meth:`result`."""
        if self._client.asynchronous:
            return self._exception(timeout)
        self._block(timeout)
        return exception_of(self._state)

    async def _exception(self, timeout: float | None = None) -> BaseException | None:
        await self._wait(timeout)
        return exception_of(self._state)

    def traceback(self, timeout: float | None = None) -> Any:
        """Return the traceback of what the task raised, None if there is none; waits like
        :meth:`result`.
        """
        if self._client.asynchronous:
            return self._traceback(timeout)
        error = self.exception(timeout)
        return None if error is None else error.__traceback__

    async def _traceback(self, timeout: float | None = None) -> TracebackType | None:
        error = await self._exception(timeout)
        return None if error is None else error.__traceback__

    def _block(self, timeout: float | None) -> None:
        """Wait in this thread until the key has ended; raises RequestTimeoutError."""
        if self.done():
            return
        session = self._client.session
        session.refuse_own_thread()
        waker = ThreadWaker()
        countdown = _watch(session, self._state, Countdown(1, waker.wake))
        try:
            if not waker.wait(timeout):
                raise _too_late(self.key, timeout)
        finally:
            _unwatch(session, self._state, countdown)

    async def _wait(self, timeout: float | None) -> None:
        if self.done():
            return
        session = self._client.session
        waker = LoopWaker()
        countdown = _watch(session, self._state, Countdown(1, waker.wake))
        try:
            if not await waker.wait(timeout):
                raise _too_late(self.key, timeout)
        finally:
            _unwatch(session, self._state, countdown)

    def add_done_callback(self, function: Callable[[Future], Any]) -> None:
        """Call ``function(future)`` once when the task has ended, in a helper thread; at once if it
        has.

        What it raises is logged.
        """
        callback: Waiter = _Callback(self, function, self._client.callbacks)
        with self._client.session.lock:
            if self._state.status == "pending":
                self._state.waiters = (*self._state.waiters, callback)
                return
        callback.notify(self._state)

    # -- acting ------------------------------------------------------------------------------------

    def cancel(self, force: bool = False) -> Any:
        """Cancel the task and all that depend on it; it goes on for other clients that want it,
        unless ``force``.
        """
        self._client.session.cancel([self._state], force)
        return done_already(self._client)

    def retry(self) -> Any:
        """Run the failed task again."""
        self._client.session.retry([self._state])
        return done_already(self._client)

    def release(self) -> None:
        """Give up this hold on the result now rather than at garbage collection; the future is of
        no use then.
        """
        state = self._state
        session = self._client.session
        released = KeyState(state.key)
        released.status = "cancelled"
        self._state = released
        session.forget(state)


def _watch(session: Session, state: KeyState, countdown: Countdown) -> Countdown:
    with session.lock:
        countdown.watch([state])
    return countdown


def _unwatch(session: Session, state: KeyState, countdown: Countdown) -> None:
    if state.waiters:
        with session.lock:
            countdown.unwatch([state])


def _too_late(key: str, timeout: float | None) -> RequestTimeoutError:
    return RequestTimeoutError(f"{key} has no result after {timeout:g} s")


def _failure(state: KeyState) -> BaseException:
    error = exception_of(state)
    assert error is not None
    return error


def _outcome(fetched: Any, key: str) -> Any:
    if key in fetched.errors:
        raise fetched.errors[key]
    return load_result(key, fetched.payloads[key])


def done_already(client: Owner) -> Any:
    """Nothing, in the form that this client returns it."""
    if not client.asynchronous:
        return None
    nothing = client.session.loop.create_future()
    nothing.set_result(None)
    return nothing
