"""Carrying out one task in a thread: function and arguments unpickled, called, its end put into a
message.

What a result must be
    A result of up to 4 KiB is pickled at once and rides in the TaskFinished message; if it cannot
    be pickled, the task has failed, with the type and the reason.  A larger result stays here as it
    is and is pickled when somebody asks for it; if that fails, whoever asked finds the same error
    in the place of the value (``transfer.py``).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from sys import getsizeof
from time import perf_counter
from types import CoroutineType
from typing import Any

from distributed.errors import TaskError
from distributed.messages import RunTask, TaskErred, TaskFinished, TaskMissingData
from distributed.payloads import Payload
from distributed.wire.failure import dump_error
from distributed.wire.payload import dumps, loads, loads_call, payload_nbytes, sizeof
from distributed.worker.context import here
from distributed.worker.early import EarlySharing
from distributed.worker.events import Outcome
from distributed.worker.held import Held
from distributed.worker.store import PICKLED, Store, load

__all__ = ["LARGEST_INLINE", "TaskRunner", "call", "safe_sizeof", "unpicklable"]

LARGEST_INLINE = 4096
_NO_DATA: dict[str, Any] = {}
_NOTHING_ELSE: dict[str, Held] = {}
_SMALL = {type(value): getsizeof(value) for value in (1, 1.0, True, None)}
"""The size of most objects of these types."""
_LONG = frozenset({str, bytes})
"""Types whose objects have nothing of the user's own, and say at once how large they are."""


def call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call ``function``; a coroutine that it returns is run to its end in this thread."""
    value = function(*args, **kwargs) if kwargs else function(*args)
    return asyncio.run(value) if type(value) is CoroutineType else value


def safe_sizeof(value: Any) -> int:
    """Return the estimated bytes of a user's object, whatever its own methods do."""
    try:
        return sizeof(value)
    except Exception:  # noqa: BLE001 - user code: a property or a __len__ that raises
        return 64


def unpicklable(key: str, value: Any, error: BaseException) -> TaskError:
    """Return the error that says that the result of ``key`` cannot be pickled because of
    ``error``.
    """
    name = type(value).__qualname__
    return TaskError(
        f"the result of {key} is of type {name}, which cannot be pickled "
        f"({type(error).__name__}: {error}); return plain data instead",
        key=key,
        type_name=name,
    )


class _MissingDependencyError(Exception):
    """A dependency left the store before the task started."""


class TaskRunner:
    """Runs tasks with the data of ``store``; safe to call from several threads.

    ``address`` is the worker's own, for tracebacks and missing data; ``worker`` is what
    ``get_worker()`` returns; ``early`` decides which results go to shared memory at once.
    """

    def __init__(self, store: Store, address: str, worker: Any = None, early: EarlySharing | None = None) -> None:
        self._store = store
        self._early = early
        self._address = address
        self._worker = worker
        self._payloads: dict[str, Payload] = {}
        self._functions: dict[str, Callable[..., Any]] = {}

    def learn(self, functions: dict[str, Payload]) -> None:
        """Remember functions: id -> payload.  They are unpickled when first called."""
        self._payloads.update(functions)

    def forget_loaded(self) -> None:
        """Unpickle all functions anew when next called: the modules that they come from have
        changed.
        """
        self._functions.clear()

    def __call__(self, task: RunTask, known: dict[str, Held] = _NOTHING_ELSE) -> Outcome:
        """Run one task to its end, with the data of the store and of ``known``.  Never raises."""
        start = perf_counter()
        here.worker = self._worker
        here.key = task.key
        try:
            try:
                # Of the shortest tasks this is most of what they cost their worker: no call that can be spared.
                function = self._functions.get(task.function) or self._load_function(task.function)
                data = self._dependencies(task.dependencies, known) if task.dependencies else _NO_DATA
                try:
                    args, kwargs = loads_call(task.args, data)
                except Exception as error:
                    raise self._cannot_load("the arguments", error) from error
                del data
                return self._finished(task, call(function, args, kwargs), start)
            except _MissingDependencyError as missing:
                return (
                    task,
                    TaskMissingData(task.key, task.run, {str(missing): [self._address]}),
                    None,
                )
            except BaseException as error:  # noqa: BLE001 - user code
                # User code may raise anything, SystemExit and KeyboardInterrupt too; the worker
                # lives on.
                info = dump_error(error, worker=self._address)
                return task, TaskErred(task.key, task.run, info, perf_counter() - start), None
        finally:
            here.key = ""

    def _load_function(self, function: str) -> Callable[..., Any]:
        payload = self._payloads.get(function)
        if payload is None:
            raise TaskError(f"the function {function} was never sent to this worker", worker=self._address)
        try:
            loaded: Callable[..., Any] = loads(payload)
        except Exception as error:
            raise self._cannot_load("the function", error) from error
        self._functions[function] = loaded
        return loaded

    def _dependencies(self, keys: list[str], known: dict[str, Held]) -> dict[str, Any]:
        held = self._store.held
        try:
            inputs = [known.get(key) or held[key] for key in keys] if known else list(map(held.__getitem__, keys))
        except KeyError as error:
            raise _MissingDependencyError(*error.args) from error
        values = [one.value for one in inputs]
        if not PICKLED.isdisjoint(map(type, values)):
            values = [self._unpickled(key, one) for key, one in zip(keys, inputs, strict=True)]
        return dict(zip(keys, values, strict=True))

    def _unpickled(self, key: str, held: Held) -> Any:
        try:
            return load(held)
        except TaskError:
            raise
        except Exception as error:
            raise self._cannot_load(f"the input {key}", error) from error

    def _cannot_load(self, what: str, error: Exception) -> TaskError:
        version = ".".join(map(str, sys.version_info[:3]))
        return TaskError(
            f"{what} cannot be unpickled on worker {self._address} (Python {version}): "
            f"{type(error).__name__}: {error}; are the same modules and versions installed there?",
            worker=self._address,
            type_name=type(error).__qualname__,
        )

    def _finished(self, task: RunTask, value: Any, start: float) -> Outcome:
        kind = type(value)
        nbytes = _SMALL.get(kind) or (getsizeof(value) if kind in _LONG else safe_sizeof(value))
        result: Payload | None = None
        if nbytes <= LARGEST_INLINE:
            try:
                result = dumps(value)
            except Exception as error:
                raise unpicklable(task.key, value, error) from error
            length = len(result) if type(result) is bytes else payload_nbytes(result)
            if length > LARGEST_INLINE:
                nbytes, result = length, None  # the estimate was wrong
        elif self._early is not None:
            value = self._early.place(task.key, task.function, value, nbytes)
        message = TaskFinished(task.key, task.run, nbytes, perf_counter() - start, kind.__name__, result)
        return task, message, value
