"""The client's questions to the cluster and its orders to workers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import msgspec

from distributed.client.future import Future
from distributed.client.options import worker_names
from distributed.client.session import Session
from distributed.errors import NoWorkersError, RequestTimeoutError
from distributed.messages import ErrorInfo
from distributed.payloads import Buffer
from distributed.wire.failure import load_error
from distributed.wire.payload import dumps, loads

__all__ = ["Control"]


def _keys_of(futures: Any) -> list[str] | None:
    """Keys of one or several futures; strings stand for themselves."""
    if futures is None:
        return None
    several = [futures] if isinstance(futures, Future | str) else futures
    return [item.key if isinstance(item, Future) else str(item) for item in several]


def _results(answers: dict[str, Any]) -> dict[str, Any]:
    """Return address -> result of a broadcast.  Raises the first error in it."""
    results = {}
    for address, answer in answers.items():
        if answer["status"] != "OK":
            raise load_error(msgspec.convert(answer["error"], ErrorInfo))
        results[address] = answer["result"]
    return results


class Control:
    """Part of :class:`~distributed.client.client.Client`.

    Every method blocks, or returns an awaitable if the client is asynchronous, and has a coroutine
    twin with a leading underscore.  All raise ConnectionLostError if the scheduler is gone.
    """

    @property
    def session(self) -> Session:
        """The connection to the scheduler."""
        raise NotImplementedError

    @property
    def asynchronous(self) -> bool:
        """Whether blocking methods return awaitables."""
        raise NotImplementedError

    def _do(self, coro: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, or return it to be awaited."""
        if self.asynchronous:
            return coro
        try:
            session = self.session
        except BaseException:
            coro.close()
            raise
        return session.run(coro)

    # -- questions ---------------------------------------------------------------------------------

    def scheduler_info(self) -> Any:
        """Return who the scheduler is and its ``workers``: address -> name, nthreads, host,
        memory_limit ...
        """
        return self._do(self._scheduler_info())

    async def _scheduler_info(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.session.request("identity")
        return found

    def ncores(self, workers: str | Iterable[str] | None = None) -> Any:
        """Return address -> number of threads, of all workers or the named ones."""
        return self._do(self._ncores(workers))

    async def _ncores(self, workers: str | Iterable[str] | None = None) -> dict[str, int]:
        found: dict[str, int] = await self.session.request("ncores", workers=worker_names(workers))
        return found

    def who_has(self, futures: Any = None) -> Any:
        """Return key -> addresses of the workers that hold it, of all keys or those of
        ``futures``.
        """
        return self._do(self._who_has(futures))

    async def _who_has(self, futures: Any = None) -> dict[str, list[str]]:
        found: dict[str, list[str]] = await self.session.request("who_has", keys=_keys_of(futures))
        return found

    def has_what(self, workers: str | Iterable[str] | None = None) -> Any:
        """Return address -> keys held there, of all workers or the named ones."""
        return self._do(self._has_what(workers))

    async def _has_what(self, workers: str | Iterable[str] | None = None) -> dict[str, list[str]]:
        found: dict[str, list[str]] = await self.session.request("has_what", workers=worker_names(workers))
        return found

    def nbytes(self, keys: Any = None) -> Any:
        """Return key -> bytes of its result, of all keys or those given (as futures or strings)."""
        return self._do(self._nbytes(keys))

    async def _nbytes(self, keys: Any = None) -> dict[str, int]:
        found: dict[str, int] = await self.session.request("nbytes", keys=_keys_of(keys))
        return found

    def why(self, future: Future | str) -> Any:
        """Return a sentence that says what a task is waiting for."""
        return self._do(self._why(future))

    async def _why(self, future: Future | str) -> str:
        key = future.key if isinstance(future, Future) else future
        return str(await self.session.request("why", key=key))

    def wait_for_workers(self, n: int = 1, timeout_s: float | None = None) -> Any:
        """Wait until there are at least ``n`` workers and return how many there are.

        Raises after ``timeout_s`` seconds NoWorkersError if there is none at all, else
        RequestTimeoutError.
        """
        return self._do(self._wait_for_workers(n, timeout_s))

    async def _wait_for_workers(self, n: int = 1, timeout_s: float | None = None) -> int:
        try:
            return int(await self.session.request("wait_for_workers", n=n, timeout_s=timeout_s))
        except RequestTimeoutError as error:
            present = await self._ncores()
            if present:
                raise
            wanted = f"the {n} asked for" if n > 1 else "the one asked for"
            raise NoWorkersError(wanted, [], timeout_s or 0.0) from error

    # -- data --------------------------------------------------------------------------------------

    def replicate(self, futures: Any, n: int | None = None, workers: str | Iterable[str] | None = None) -> Any:
        """Have ``n`` copies of each result (default: one on every worker, or on every named
        one).
        """
        return self._do(self._replicate(futures, n, workers))

    async def _replicate(self, futures: Any, n: int | None = None, workers: str | Iterable[str] | None = None) -> None:
        await self._ended(futures)
        names = worker_names(workers)
        await self.session.request("replicate", keys=_keys_of(futures), n=n, workers=names)

    def rebalance(self, futures: Any = None, workers: str | Iterable[str] | None = None) -> Any:
        """Move results so that all workers (or the named ones) hold about as many bytes."""
        return self._do(self._rebalance(futures, workers))

    async def _rebalance(self, futures: Any = None, workers: str | Iterable[str] | None = None) -> None:
        await self._ended(futures)
        await self.session.request("rebalance", keys=_keys_of(futures), workers=worker_names(workers))

    async def _ended(self, futures: Any) -> None:
        """Wait for the futures among the arguments."""
        several = [futures] if isinstance(futures, Future | str) else futures or []
        for item in several:
            if isinstance(item, Future):
                await item._wait(None)

    # -- workers -----------------------------------------------------------------------------------

    def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        workers: str | Iterable[str] | None = None,
        wait: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Call ``function(*args, **kwargs)`` on every worker (or the named ones), outside of all
        queues.

        Returns address -> result; with ``wait=False`` None, without waiting for the calls' ends.
        Raises the first error.
        """
        return self._do(self._run(function, *args, workers=workers, wait=wait, **kwargs))

    async def _run(
        self,
        function: Callable[..., Any],
        *args: Any,
        workers: str | Iterable[str] | None = None,
        wait: bool = True,
        **kwargs: Any,
    ) -> dict[str, Any] | None:
        message = {"op": "run", "function": dumps((function, args, kwargs)), "wait": wait}
        results = await self._broadcast(message, workers)
        return {address: loads(result) for address, result in results.items()} if wait else None

    async def _broadcast(self, message: dict[str, Any], workers: str | Iterable[str] | None = None) -> dict[str, Any]:
        answers = await self.session.request("broadcast", message=message, workers=worker_names(workers))
        return _results(answers)

    def upload_file(self, filename: str | Path, load: bool = True) -> Any:
        """Send a file to all workers that there are; Python modules and eggs become importable
        there.

        ``load``: import the module (again) at once.  Raises OSError if it cannot be read.
        """
        return self._do(self._upload_file(filename, load))

    async def _upload_file(self, filename: str | Path, load: bool = True) -> dict[str, Any]:
        path = Path(filename)
        message = {
            "op": "upload_file",
            "filename": path.name,
            "data": Buffer(path.read_bytes()),
            "load": load,
        }
        return await self._broadcast(message)

    def restart(self, timeout_s: float = 60.0) -> Any:
        """Cancel everything, forget all data and start all worker processes anew; returns the
        client.

        Workers without a nanny forget their data but go on with the task they are in.
        """
        return self._do(self._restart(timeout_s))

    async def _restart(self, timeout_s: float = 60.0) -> Control:
        await self.session.request("restart", timeout_s=timeout_s)
        return self

    def retire_workers(self, workers: str | Iterable[str], reason: str = "retired by a client") -> Any:
        """Tell workers to go; their tasks run elsewhere.  Returns the addresses told."""
        return self._do(self._retire_workers(workers, reason))

    async def _retire_workers(self, workers: str | Iterable[str], reason: str = "retired by a client") -> list[str]:
        told: list[str] = await self.session.request("retire_workers", workers=worker_names(workers), reason=reason)
        return told
