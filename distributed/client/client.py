"""The client: functions in, futures out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, Final

from distributed.client.connecting import Connecting
from distributed.client.control import Control
from distributed.client.executor import ClientExecutor
from distributed.client.fetching import fetch
from distributed.client.functions import Function, FunctionRegistry
from distributed.client.future import Future, done_already
from distributed.client.gathering import Gathering
from distributed.client.graphs import call_of, is_key, plan
from distributed.client.keys import TokenSource, name_of, token_of, unwrap
from distributed.client.mapping import Calls, checked_key, in_batches, numbers_at_once
from distributed.client.options import make_options, worker_names
from distributed.client.scattering import scatter
from distributed.client.snapshots import detached
from distributed.client.structures import find_futures
from distributed.client.waiting import block, unblock
from distributed.errors import RequestTimeoutError
from distributed.messages import TaskOptions, TaskSpec
from distributed.payloads import Payload
from distributed.wire.payload import dumps, dumps_call, payload_nbytes

__all__ = ["Client", "CompatibleExecutor", "Executor"]

_CALLS_PER_BATCH: Final = 2000
_LARGEST_DIGESTED: Final = 2**20


class Client(Connecting, Control):
    """A connection to a cluster: ``Client("host:port").submit(function, *args).result()``.

    ``address``: ``"host:port"``, ``(host, port)``, the name of a cluster of this user, a Scheduler,
    or a launcher's cluster.  ``cluster`` and ``cluster_file`` name a cluster instead.  Without all
    of these the environment (``DLAUNCH_CLUSTER_FILE``, ``DLAUNCH_CLUSTER``) is asked, then the one
    running cluster of this user is taken, and if there is none a cluster is started on this machine
    and ended with the client.

    ``secret``: the cluster's, if no file tells it.  ``timeout_s``: how long to try to connect.
    ``name``: begins the client's id in the scheduler's log.  ``shared_memory``: how large data go to
    and come from workers on this host: ``"read-only"``, ``"writable"`` or ``"off"`` (default:
    ``DLAUNCH_SHARED_MEMORY`` in the environment, else read-only).

    A client works from any thread.  In a coroutine, write ``async with Client(address) as client``:
    then the methods that otherwise block return awaitables, and it runs on that coroutine's loop
    (``asynchronous=True`` says so beforehand).  Made inside a running loop, a client connects when
    it is first used.

    Raises CommError (its text contains "connect" and the address) or AuthenticationError if there
    is no connection, ValueError if something other than a scheduler answers, ConfigError if the
    cluster cannot be told.
    """

    def _prepare(self) -> None:
        self._functions = FunctionRegistry()
        self._tokens = TokenSource()

    # -- tasks -------------------------------------------------------------------------------------

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,
        key: str | None = None,
        pure: bool = True,
        workers: str | Iterable[str] | None = None,
        allow_other_workers: bool = False,
        priority: int = 0,
        retries: int = 0,
        resources: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> Future:
        """Have ``function(*args, **kwargs)`` called on the cluster; return the future of its result
        at once.

        Futures among the arguments, at any depth, become their results.  Equal calls of a ``pure``
        function run once; say ``pure=False`` for functions with effects or chance.  ``key`` names
        the task.  ``workers``: where it may run, by address, host or name; with
        ``allow_other_workers`` only where it should.  Higher ``priority`` runs first; ``retries``
        more attempts follow a failure; ``resources`` are held while it runs.

        Raises TypeError if ``function`` is not callable, and what the pickling of an argument raises.
        """
        options = make_options(
            priority=priority,
            retries=retries,
            workers=workers,
            allow_other_workers=allow_other_workers,
            resources=resources,
        )
        function, args, kwargs = unwrap(function, args, kwargs)
        packed = self._functions.pack(function)
        return self._submit(packed, args, kwargs, options, checked_key(key), pure)

    def _submit(
        self,
        packed: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: TaskOptions | None = None,
        key: str | None = None,
        pure: bool = True,
    ) -> Future:
        payload, dependencies = dumps_call(args, kwargs)
        if key is None:
            token = token_of(packed.id.encode(), payload, dependencies) if pure else self._tokens.next()
            key = f"{packed.name}-{token}"
        spec = TaskSpec(key, packed.id, detached(payload), dependencies, options)
        return Future(key, self, self.session.submit([spec], packed)[0])

    def map(
        self,
        function: Callable[..., Any],
        *iterables: Iterable[Any],
        key: str | list[str] | None = None,
        pure: bool = True,
        workers: Any = None,
        allow_other_workers: bool = False,
        priority: int = 0,
        retries: int = 0,
        resources: dict[str, float] | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call ``function`` on the items of the iterables, like the builtin; return the list of
        futures.

        Options as in :meth:`submit`.  ``key`` is the front of all keys, or a list of them;
        ``workers`` may also be a list of lists, one per call.  Keyword arguments are the same in
        each call.

        ``batch_size``: so many calls are one task, with one future of the list of their results; the first that
        raises is the end of its task.  For calls so short that a task of its own for each costs more than the call.
        """
        if not iterables:
            raise TypeError("map needs at least one iterable beside the function")
        places, shared = _places(workers)
        others: dict[str, Any] = {"priority": priority, "retries": retries, "resources": resources}
        loose: dict[str, Any] = {"allow_other_workers": allow_other_workers}
        options = make_options(workers=shared, **others, **(loose if places is None else {}))
        function, first, kwargs = unwrap(function, (), kwargs)
        name = key if isinstance(key, str) else name_of(function)
        calls: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        if batch_size is not None:
            called = partial(function, *first) if first else function
            function, calls = in_batches(called, iterables, batch_size, kwargs)
            first, kwargs = (), {}
        packed = self._functions.pack(function)._replace(name=name)
        names = iter([checked_key(one) for one in key]) if isinstance(key, list) else None
        sender = Calls(packed, first, kwargs, None if pure else self._tokens, names)
        where = None if places is None else (places, {**others, **loose})
        futures: list[Future] = []
        for number in numbers_at_once(batch_size):
            if not (batch := list(islice(calls, number))):
                break
            self.session.give_way()
            futures += [Future(state.key, self, state) for state in sender.send(self.session, batch, options, where)]
        return futures

    def get(self, graph: Mapping[Hashable, Any], keys: Any, **options: Any) -> Any:
        """Compute ``keys`` (one, or nested lists) of a graph in the form of dask and return their
        results.

        ``options`` as in :meth:`submit`, for all tasks.  Raises KeyError for a key that is not in
        the graph, ValueError for a circle.
        """
        return self.gather(self._graph(graph, keys, options))

    def _graph(self, graph: Mapping[Hashable, Any], keys: Any, options: dict[str, Any]) -> Any:
        wanted = list(_flatten(keys))
        known: dict[Hashable, Future] = {}
        for key in plan(graph, wanted):
            value = graph[key]
            if is_key(value, known):
                known[key] = known[value]
                continue
            function, args = call_of(value, known)
            known[key] = self.submit(function, *args, **options)
        return _structure_like(keys, known)

    # -- results -----------------------------------------------------------------------------------

    def gather(self, futures: Any, errors: str = "raise", timeout: float | None = None) -> Any:
        """Return the results of futures, in the same nested lists, tuples, sets and dicts.

        An iterator gives an iterator.  ``errors="skip"`` leaves out what failed instead of raising
        the first error. Raises RequestTimeoutError after ``timeout`` seconds.
        """
        if errors not in ("raise", "skip"):
            raise ValueError(f"errors is 'raise' or 'skip', not {errors!r}")
        if self.asynchronous:
            return self._gather(futures, errors, timeout)
        if isinstance(futures, Iterator):
            return self._gather_each(futures, errors, timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        gathering = Gathering(futures, errors)
        block(gathering.futures, timeout, gathering.until)
        left = None if deadline is None else deadline - time.monotonic()
        if absent := gathering.take(timeout, left):
            fetched = self.session.run(fetch(self.session, absent), None if left is None else max(left, 0.001))
            gathering.add(fetched)
        return gathering.filled()

    async def _gather(self, futures: Any, errors: str = "raise", timeout: float | None = None) -> Any:
        structure = list(futures) if isinstance(futures, Iterator) else futures
        deadline = None if timeout is None else time.monotonic() + timeout
        gathering = Gathering(structure, errors)
        await unblock(gathering.futures, timeout, gathering.until)
        left = None if deadline is None else deadline - time.monotonic()
        if absent := gathering.take(timeout, left):
            try:
                fetched = await asyncio.wait_for(
                    fetch(self.session, absent), None if left is None else max(left, 0.001)
                )
            except asyncio.TimeoutError as error:
                raise RequestTimeoutError(f"not done within {timeout:g} s") from error
            gathering.add(fetched)
        return gathering.filled()

    def _gather_each(self, futures: Iterator[Any], errors: str, timeout: float | None) -> Iterator[Any]:
        while batch := list(islice(futures, _CALLS_PER_BATCH)):
            yield from self.gather(batch, errors, timeout)

    def scatter(
        self,
        data: Any,
        workers: str | Iterable[str] | None = None,
        broadcast: bool = False,
        hash: bool = True,  # noqa: A002 - the field's name
    ) -> Any:
        """Put data on the workers and return futures of them: a list for a list, a dict for a dict,
        else one.

        A dict's keys (strings) are the keys on the cluster.  Items go round robin by threads, or
        with ``broadcast`` to all workers (or all named ones).  With ``hash`` equal data of up to 1 MiB
        have equal keys and travel once.

        Raises NoWorkersError if there is no such worker within the client's ``timeout_s``.
        """
        return self._do(self._scatter(data, workers, broadcast, hash))

    async def _scatter(
        self,
        data: Any,
        workers: str | Iterable[str] | None = None,
        broadcast: bool = False,
        hash: bool = True,  # noqa: A002
    ) -> Any:
        if isinstance(data, Iterator | range):
            data = list(data)
        several = isinstance(data, dict | list | tuple | set | frozenset)
        items = list(data.values() if isinstance(data, dict) else data) if several else [data]
        payloads = [dumps(item) for item in items]
        keys = list(map(_data_key, data)) if isinstance(data, dict) else self._data_keys(items, payloads, hash)
        states = await scatter(
            self.session,
            dict(zip(keys, payloads, strict=True)),
            types={key: type(item).__name__ for key, item in zip(keys, items, strict=True)},
            workers=worker_names(workers),
            broadcast=broadcast,
            timeout_s=self.timeout_s,
        )
        # A key given twice has one state, acquired once: its second future acquires it again.
        futures = [Future(key, self, states.pop(key)) if key in states else Future(key, self) for key in keys]
        if isinstance(data, dict):
            return dict(zip(data, futures, strict=True))
        return type(data)(futures) if several else futures[0]

    def _data_keys(self, items: list[Any], payloads: list[Payload], content: bool) -> list[str]:
        def token(payload: Payload) -> str:
            # To digest large data takes longer than to send them again.
            small = payload_nbytes(payload) <= _LARGEST_DIGESTED
            return token_of(b"data", payload) if content and small else self._tokens.next()

        pairs = zip(items, payloads, strict=True)
        return [f"{name_of(type(item))}-{token(payload)}" for item, payload in pairs]

    # -- acting on futures -------------------------------------------------------------------------

    def cancel(self, futures: Any, force: bool = False) -> Any:
        """Cancel tasks and all that depend on them.

        A task that other clients want goes on for them, unless ``force``.
        """
        self.session.cancel([future._state for future in find_futures(futures)], force)
        return done_already(self)

    def retry(self, futures: Any) -> Any:
        """Run failed tasks (and the failed tasks they depend on) again."""
        self.session.retry([future._state for future in find_futures(futures)])
        return done_already(self)

    def get_executor(self, **options: Any) -> ClientExecutor:
        """Return an executor in the sense of ``concurrent.futures`` that runs its calls on this
        cluster.

        ``options`` as in :meth:`submit`, for all calls.
        """
        return ClientExecutor(self, **options)

    def __await__(self) -> Generator[Any, Any, Client]:
        return self._start_here().__await__()


def _data_key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the keys of scattered data are strings, not {key!r}")
    return key


def _places(workers: Any) -> tuple[Iterator[Any] | None, Any]:
    """Tell workers given per call from workers given for all calls."""
    if workers is not None and not isinstance(workers, str):
        workers = list(workers)
        if workers and not isinstance(workers[0], str):
            return iter(workers), None
    return None, workers


def _flatten(keys: Any) -> Iterator[Hashable]:
    if isinstance(keys, list):
        for key in keys:
            yield from _flatten(key)
    else:
        yield keys


def _structure_like(keys: Any, known: Mapping[Hashable, Future]) -> Any:
    return [_structure_like(key, known) for key in keys] if isinstance(keys, list) else known[keys]


Executor = Client


class CompatibleExecutor(Client):
    """A client whose ``map`` yields results, like ``concurrent.futures``."""

    def map(self, function: Callable[..., Any], *iterables: Iterable[Any], **options: Any) -> Any:
        """Call ``function`` on the items of the iterables; return an iterator of the results in
        their order.
        """
        timeout = options.pop("timeout", None)
        options.pop("chunksize", None)
        return (future.result(timeout) for future in super().map(function, *iterables, **options))
