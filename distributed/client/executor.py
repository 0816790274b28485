"""A client with the face of ``concurrent.futures``, for code that wants an executor."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

from distributed.client.future import Future
from distributed.client.table import Remote

__all__ = ["ClientExecutor"]

_MOST_AT_ONCE: Final = 64
_MOST_BYTES_AT_ONCE: Final = 2**23
"""Of results that are fetched before their turn."""


class ClientExecutor(concurrent.futures.Executor):
    """Runs calls on the cluster and gives futures of ``concurrent.futures``; made by
    :meth:`Client.get_executor`.

    ``options``: of :meth:`Client.submit`, for all calls; unlike there, calls are not taken for
    pure.
    """

    def __init__(self, client: Any, **options: Any) -> None:
        if client.asynchronous:
            raise TypeError("an executor blocks: it needs a client that is not asynchronous")
        self._client = client
        self._options = {"pure": False, **options}
        self._lock = threading.Lock()
        self._unfinished: weakref.WeakSet[concurrent.futures.Future[Any]] = weakref.WeakSet()
        self._shut = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Have ``fn(*args, **kwargs)`` called on the cluster.  Raises RuntimeError after
        ``shutdown``.
        """
        self._refuse_if_shut()
        # The call's keyword arguments must not be mistaken for options of ours.
        call = functools.partial(fn, **kwargs) if kwargs else fn
        inner = self._client.submit(call, *args, **self._options)
        outer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._unfinished.add(outer)
        outer.add_done_callback(lambda done: inner.cancel() if done.cancelled() else None)
        inner.add_done_callback(lambda done: _copy(done, outer))
        return outer

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **options: Any,
    ) -> Iterator[Any]:
        """Return an iterator of the results, in order; ``chunksize`` calls travel as one task.

        Raises TimeoutError if the next result is not there ``timeout`` seconds after this call.
        """
        self._refuse_if_shut()
        if chunksize < 1:
            raise ValueError(f"chunksize is 1 or more, not {chunksize}")
        deadline = None if timeout is None else time.monotonic() + timeout
        options = {**self._options, **options}
        if not iterables:
            return iter(())
        if chunksize == 1:
            return self._results(self._client.map(fn, *iterables, **options), deadline, in_lists=False)
        chunks = self._client.map(fn, *iterables, batch_size=chunksize, **options)
        return self._results(chunks, deadline, in_lists=True)

    def _results(self, futures: list[Future], deadline: float | None, in_lists: bool) -> Iterator[Any]:
        futures.reverse()
        try:
            while futures:
                values = self._first(futures, deadline)
                del futures[-len(values) :]
                yield from chain.from_iterable(values) if in_lists else values
        finally:
            self._client.cancel(futures)

    def _first(self, futures: list[Future], deadline: float | None) -> list[Any]:
        """Return the first results, the last futures', as many as are there: a way to the workers costs the same for
        one and for several.
        """
        ready = _ready(futures)
        if len(ready) > 1:
            # If one of them fails, or is lost meanwhile, those before it are yielded first.
            with contextlib.suppress(Exception):
                values: list[Any] = self._client.gather(ready, timeout=_left(deadline))
                return values
        return [futures[-1].result(_left(deadline))]

    def _refuse_if_shut(self) -> None:
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; the client stays open.  ``wait`` for all to end; ``cancel_futures``
        before that.
        """
        with self._lock:
            self._shut = True
        unfinished = [future for future in self._unfinished if not future.done()]
        if cancel_futures:
            for future in unfinished:
                future.cancel()
        if wait:
            concurrent.futures.wait(unfinished)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)


def _ready(futures: list[Future]) -> list[Future]:
    """Return those at the end of the list that have finished, the last one first: not many, and not much data."""
    found: list[Future] = []
    nbytes = 0
    for future in islice(reversed(futures), _MOST_AT_ONCE):
        state = future._state
        if state.status != "finished":
            break
        if isinstance(state.detail, Remote):
            nbytes += state.detail.nbytes
        if nbytes > _MOST_BYTES_AT_ONCE:
            break
        found.append(future)
    return found


def _copy(inner: Future, outer: concurrent.futures.Future[Any]) -> None:
    """Give the outcome of a task to the future that stands for it."""
    if not outer.set_running_or_notify_cancel():
        return  # cancelled by its owner
    try:
        value = inner.result()
    except BaseException as error:  # noqa: BLE001 - whatever the user's task raised
        outer.set_exception(error)
    else:
        outer.set_result(value)
