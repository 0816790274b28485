"""A scheduler that only notes what workers say and says what a test wants."""

from __future__ import annotations

import contextlib
import itertools
from contextlib import asynccontextmanager

from distributed.daemon import Daemon, stream_operation
from distributed.errors import CommError, ConfigError
from distributed.messages import AddFunction, Reply, RunTask
from distributed.wire.failure import dump_error
from distributed.wire.payload import dumps, dumps_call, loads
from distributed.worker import Worker
from tests.aio import until
from tests.blocks import apart

SECRET = b"w" * 32


class Key:
    """Stands for the future of a key in the arguments of a task."""

    __dlaunch_key__ = True

    def __init__(self, key):
        self.key = key


class StubScheduler(Daemon):
    """Registers workers, unless ``refusal`` says why not; ``said`` is what each told, by address."""

    kind = "Scheduler"

    def __init__(self, heartbeat_s=30.0, identity=None):
        super().__init__(host="127.0.0.1", secret=SECRET)
        self.id = identity or self.id
        self.heartbeat_s = heartbeat_s
        self.refusal = ""
        self.greeting = []
        self.registered = []
        self.streams = {}
        self.said = {}
        self._runs = itertools.count(1)
        self._functions = itertools.count(1)

    @stream_operation
    async def register_worker(
        self,
        connection,
        request_id: int,
        *,
        address: str,
        name: str,
        nthreads: int,
        memory_limit: int | None,
        resources: dict[str, float],
        nanny: str | None,
        host: str,
        pid: int,
        job_id: str,
        versions: dict[str, str],
        data: dict[str, int],
    ) -> None:
        if self.refusal:
            connection.send(Reply(request_id, error=dump_error(ConfigError(self.refusal))))
            return
        self.registered.append({k: v for k, v in locals().items() if k != "self"})
        result = {"id": self.id, "name": name or address, "heartbeat_s": self.heartbeat_s}
        self.streams[address] = connection
        heard = self.said.setdefault(address, [])
        connection.send(Reply(request_id, result), *self.greeting)
        with contextlib.suppress(CommError):
            while True:
                heard.extend(await connection.read())

    # -- short words for tests ------------------------------------------------------

    def tell(self, worker, *messages):
        self.streams[worker.address].send(*messages)

    def run(self, worker, function, *args, key="k", who_has=None, **options):
        """Send one task; keys in its arguments are its dependencies."""
        name = f"f{next(self._functions)}"
        payload, needs = dumps_call(args, {})
        task = RunTask(key, next(self._runs), name, payload, 0, needs, who_has or {}, **options)
        self.tell(worker, AddFunction(name, dumps(function)), task)
        return task

    def heard(self, worker, kind, key=None):
        return [
            message
            for said in self.said.get(worker.address, ())
            for message in apart(said)
            if isinstance(message, kind) and key in (None, getattr(message, "key", key))
        ]

    async def wait_for(self, worker, kind, key=None, timeout_s=10.0):
        """Return the first message of this kind (about ``key``) from a worker."""
        found = await until(
            lambda: self.heard(worker, kind, key),
            timeout_s,
            f"{kind.__name__} of {key}, heard: {self.said.get(worker.address)}",
        )
        return found[0]

    def drop_worker(self, worker):
        """Break the connection without a word."""
        self.streams[worker.address].abort()


@asynccontextmanager
async def bed(*workers, **options):
    """A stub scheduler and workers with these settings (or one with none): ``stub, worker, ...``."""
    stub = StubScheduler(**options)
    await stub.start(0)
    started = []
    try:
        for settings in workers or ({},):
            started.append(make_worker(stub, **settings))
            await started[-1].start(0)
        yield (stub, *started)
    finally:
        for worker in started:
            await worker.close()
        await stub.close()


def make_worker(stub, **settings):
    settings = {"ncores": 1, "secret": SECRET, "death_timeout_s": 10.0, **settings}
    return Worker("127.0.0.1", stub if isinstance(stub, int) else stub.port, **settings)


async def ask(stub, worker, op, **kwargs):
    """Request an operation of a worker, over the stub's pool."""
    return await stub.pool.request(worker.address, op, timeout_s=10.0, **kwargs)


async def get(stub, worker, key):
    """Return one value that a worker serves."""
    return loads((await ask(stub, worker, "get_data", keys=[key]))[key])
