"""What the tests of the scheduler's daemon share: a real scheduler, workers and nannies that do as told."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager

from distributed.comm import connect
from distributed.daemon import Daemon, operation
from distributed.errors import CommError
from distributed.messages import (
    Request,
    RunTask,
    SubmitTasks,
    TaskFinished,
    TaskSpec,
    WorkerAppeared,
    WorkerDisappeared,
)
from distributed.pool import ConnectionPool
from distributed.scheduler import Scheduler
from distributed.wire.failure import load_error
from distributed.wire.payload import dumps, dumps_call, payload_nbytes
from tests.aio import until
from tests.blocks import apart

SECRET = b"s" * 32


class Puppet(Daemon):
    """A worker that registers and then does nothing by itself; ``said``: what the scheduler told it."""

    kind = "Worker"

    def __init__(self, **settings):
        super().__init__(host="127.0.0.1", secret=SECRET, **settings)
        self.data = {}
        self.said = []
        self.connection = None
        self.deaf = asyncio.Event()
        self.deaf.set()

    async def join(self, scheduler, name="", nanny=None, nthreads=1, **more):
        """Register; return the reply, or raise the refusal."""
        self.connection = await connect(scheduler.address, secret=SECRET, role="worker")
        about = {"address": self.address, "name": name, "nanny": nanny, "nthreads": nthreads, **more}
        self.connection.send(Request("register_worker", about, 1))
        reply, *more = await self.connection.read()
        if reply.error is not None:
            self.connection.abort()
            raise load_error(reply.error)
        self.said += more
        self.own(self._listen(self.connection), name="listen")
        return reply.result

    async def _listen(self, connection):
        with contextlib.suppress(CommError):
            while True:
                self.said += await connection.read()

    async def _close(self, reason):
        if self.connection is not None:
            self.connection.abort()

    def heard(self, kind):
        said = [one for message in self.said for one in apart(message)]
        return [message for message in said if isinstance(message, kind)]

    def finish(self, task, value):
        """Say that a task, as it was told, is done."""
        payload = self.data[task.key] = dumps(value)
        size = payload_nbytes(payload)
        self.connection.send(TaskFinished(task.key, task.run, size, 0.01, "int", payload))

    @operation
    async def ping(self) -> str:
        await self.deaf.wait()
        return "pong"

    @operation
    async def get_data(self, keys: list[str]) -> dict[str, bytes]:
        return {key: self.data[key] for key in keys if key in self.data}

    @operation
    async def update_data(self, data: dict[str, bytes]) -> dict[str, dict[str, int]]:
        self.data.update(data)
        return {"nbytes": {key: payload_nbytes(payload) for key, payload in data.items()}}

    @operation
    async def greet(self, name: str) -> str:
        return f"hello {name}"


class PuppetNanny(Daemon):
    """A nanny that takes note of what it is told; ``on_restart`` does what the test wants."""

    kind = "Nanny"

    def __init__(self, on_restart=None):
        super().__init__(host="127.0.0.1", secret=SECRET)
        self.on_restart = on_restart

    @operation
    async def restart(self, timeout_s: float = 30.0) -> str:
        await self.on_restart()
        return "OK"


class Bed:
    """A scheduler, what was made around it, and the asking."""

    def __init__(self, **settings):
        self.scheduler = Scheduler(host="127.0.0.1", secret=SECRET, **settings)
        self.pool = ConnectionPool(SECRET)
        self.daemons = []
        self.watchers = []

    async def ask(self, op, **kwargs):
        """Request an operation of the scheduler."""
        return await self.pool.request_with(self.scheduler.address, op, kwargs, 10.0)

    async def make(self, daemon, port=0):
        """Start a daemon that ends with the bed."""
        self.daemons.append(daemon)
        await daemon.start(port)
        return daemon

    async def puppet(self, *args, port=0, **kwargs):
        """Start a puppet and register it: as ``Puppet.join``."""
        puppet = await self.make(Puppet(), port)
        await puppet.join(self.scheduler, *args, **kwargs)
        return puppet

    async def watch(self):
        """Return the list of what a watcher is told, as it comes."""
        connection = await connect(self.scheduler.address, secret=SECRET)
        connection.send(Request("watch", {}, 1))
        told = [message for message in await connection.read() if isinstance(message, WorkerAppeared)]

        async def listen():
            with contextlib.suppress(CommError):
                while True:
                    told.extend(await connection.read())

        self.watchers.append((connection, asyncio.ensure_future(listen())))
        return told

    async def client(self, name="client-1"):
        """Register as a client; return the connection."""
        connection = await connect(self.scheduler.address, secret=SECRET)
        connection.send(Request("register_client", {"client": name}, 1))
        await connection.read()
        self.watchers.append((connection, None))
        return connection

    async def submit(self, connection, *keys):
        """Have a client submit tasks of no account."""
        tasks = [TaskSpec(key, "f", dumps_call((), {})[0]) for key in keys]
        connection.send(SubmitTasks(tasks, {"f": dumps(int)}))

    async def compute(self, puppet, connection, key, value):
        """Have a client submit one task, and a puppet do it."""
        await self.submit(connection, key)
        (task,) = await until(lambda: [m for m in puppet.heard(RunTask) if m.key == key])
        puppet.finish(task, value)
        await until(lambda: self.scheduler.machine.state.tasks[key].holders)

    async def close(self):
        for connection, task in self.watchers:
            connection.abort()
            if task is not None:
                await asyncio.wait([task])
        await self.pool.close()
        for daemon in [self.scheduler, *self.daemons]:
            await daemon.close()


@asynccontextmanager
async def bed(**settings):
    made = Bed(**settings)
    await made.scheduler.start(0)
    try:
        yield made
    finally:
        await made.close()


def departures(told):
    """What a watcher was told of workers that went: (name, reason, expected)."""
    return [(m.name, m.reason, m.expected) for m in told if isinstance(m, WorkerDisappeared)]
