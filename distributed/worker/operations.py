"""What others may ask of a worker: data, keys, running a function, taking a file."""

from __future__ import annotations

import logging
from typing import Any

from tornado.ioloop import IOLoop

from distributed.daemon import Daemon, operation
from distributed.payloads import Buffer, Payload
from distributed.sharing.exchange import Exchange
from distributed.wire.payload import dumps, loads, payload_nbytes
from distributed.worker import events
from distributed.worker.background import in_thread
from distributed.worker.context import here
from distributed.worker.early import EarlySharing
from distributed.worker.executor import Executor
from distributed.worker.files import LocalDirectory
from distributed.worker.machine import WorkerMachine
from distributed.worker.memory import resident_bytes
from distributed.worker.running import TaskRunner, call
from distributed.worker.store import Store
from distributed.worker.transfer import DataServer, arrived

__all__ = ["Operations"]

logger = logging.getLogger(__name__)

_FULL_FRACTION = 0.75
"""Of the memory limit: above, nothing is copied into shared memory."""


class Operations(Daemon):
    """The part of the Worker that answers requests.

    ``data``: the values that it holds, a mapping by key; ``local_dir``: its private folder, ``""``
    before the start.
    """

    kind = "Worker"
    machine: WorkerMachine
    executor: Executor
    runner: TaskRunner
    memory_limit: int

    def __init__(
        self, *, loop: IOLoop | None, host: str | None, secret: bytes | None, shared_memory: str | None = None
    ) -> None:
        super().__init__(loop=loop, host=host, secret=secret)
        self.data = Store()
        self.exchange = Exchange(shared_memory, self._may_take)
        self.early = EarlySharing(self.exchange)
        self._server = DataServer(self.data, self.exchange, self.early)
        self._directory: LocalDirectory | None = None

    @property
    def local_dir(self) -> str:
        """The worker's private folder, removed at its close; ``""`` before the start."""
        return self._directory.path if self._directory is not None else ""

    def make_directory(self, parent: str | None) -> None:
        """Make the private folder below ``parent``.  Raises ConfigError."""
        self._directory = LocalDirectory(parent)

    def remove_directory(self) -> None:
        """Remove the private folder."""
        if self._directory is not None:
            self._directory.remove()

    def _may_take(self, nbytes: int) -> bool:
        """Whether ``nbytes`` more leave this worker well below its memory limit."""
        return not self.memory_limit or resident_bytes() + nbytes <= _FULL_FRACTION * self.memory_limit

    def handle(self, event: events.Event) -> None:
        """Give an event to the machine and carry out what it decides."""
        raise NotImplementedError

    @operation
    async def keys(self) -> list[str]:
        """Return the keys of the data held here."""
        return list(self.data)

    @operation
    async def get_data(self, keys: list[str], place: str = "") -> dict[str, Any]:
        """Return key -> payload of those of ``keys`` that are here.

        A reader that says its ``place`` is told of shared memory if it is here too.
        """
        return await self._server.get(keys, place)

    @operation
    async def place(self) -> str:
        """Return the place of this worker, where processes share memory; empty if it does not."""
        return self.exchange.place

    @operation
    async def update_data(self, data: dict[str, Any]) -> dict[str, Any]:
        """Take data: key -> payload.  Return ``nbytes``: key -> bytes.  The caller tells the
        scheduler.  Raises SharedMemoryError if they name memory that cannot be opened here.
        """
        for key, payload in data.items():
            if not isinstance(payload, bytes | list):
                raise TypeError(f"the data of {key} is {type(payload).__name__}, not a payload")
        data = {key: self.exchange.adopt(payload) for key, payload in data.items()}
        sizes = {key: payload_nbytes(payload) for key, payload in data.items()}
        self.handle(events.DataReceived(sizes, {key: arrived(payload) for key, payload in data.items()}))
        return {"status": "OK", "nbytes": sizes}

    @operation
    async def delete_data(self, keys: list[str]) -> str:
        """Drop data; the scheduler is told."""
        self.handle(events.DataDeleted(keys))
        return "OK"

    @operation
    async def run(self, function: Any, wait: bool = True) -> Any:
        """Call a function here and now, beside the tasks: ``function`` is a payload of (function,
        args, kwargs).

        Returns the payload of its result, or raises what it raised; without ``wait`` returns None
        at once.
        """
        call_it = in_thread(self._run, function)
        if wait:
            return await call_it
        self.own(self._log_failure(call_it), name="run")
        return None

    def _run(self, payload: Payload) -> Payload:
        here.worker = self
        function, args, kwargs = loads(payload)
        return dumps(call(function, args, kwargs))

    async def _log_failure(self, running: Any) -> None:
        try:
            await running
        except Exception:  # user code, and nobody waits for its result
            logger.warning("a function sent by run(wait=False) failed", exc_info=True)

    @operation
    async def upload_file(self, filename: str, data: Any, load: bool = True) -> dict[str, Any]:
        """Put a file into the local folder; import it if it is a module or an archive of modules
        and ``load``.
        """
        if self._directory is None:
            raise ValueError("the worker has no folder yet, it is starting")
        content = data.data if isinstance(data, Buffer) else data
        if not isinstance(content, bytes | bytearray | memoryview):
            raise TypeError(f"the data of {filename} is {type(content).__name__}, not bytes")
        loaded = await in_thread(self._directory.upload, filename, content, load)
        self.runner.forget_loaded()
        logger.info("took the file %s%s", filename, f" and imported {', '.join(loaded)}" if loaded else "")
        return {"status": "OK", "nbytes": len(content), "loaded": loaded}
