"""A small scheduler that computes by itself, for tests of the client's side of the protocol."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed.comm import Connection
from distributed.daemon import Daemon, operation, stream_operation
from distributed.errors import CommError
from distributed.messages import (
    CancelKeys,
    KeyCancelled,
    KeyErred,
    KeyInMemory,
    KeyPending,
    ReleaseKeys,
    Reply,
    Request,
    RetryKeys,
    SubmitTasks,
    TaskSpec,
    WantKeys,
)
from distributed.payloads import Payload
from distributed.wire.failure import dump_error
from distributed.wire.payload import dumps, loads, loads_call
from tests.blocks import apart

SECRET = b"s" * 32


class FakeScheduler(Daemon):
    """Runs each task when it is submitted, or when ``step`` is called if ``held``.

    Keeps all that it was sent in ``received``.

    With ``inline=False`` results do not ride along: they are "at" the scheduler's own address.
    """

    kind = "Scheduler"

    def __init__(self, *, held: bool = False, inline: bool = True) -> None:
        super().__init__(host="127.0.0.1", secret=SECRET)
        self.held = held
        self.inline = inline
        self.received: list[Any] = []
        self.functions: dict[str, Any] = {}
        self.data: dict[str, Any] = {}
        self.specs: dict[str, TaskSpec] = {}
        self.todo: list[TaskSpec] = []
        self.connections: list[Connection] = []
        self.requests: list[str] = []
        self.unreachable = False

    @stream_operation
    async def register_client(self, connection: Connection, request_id: int, *, client: str) -> None:
        """Serve one client."""
        connection.send(Reply(request_id, {"id": self.id, "client": client}))
        self.connections.append(connection)
        try:
            while True:
                for message in await connection.read():
                    for one in apart(message):
                        await self._one(connection, one)
        except CommError:
            pass
        finally:
            self.connections.remove(connection)

    async def _one(self, connection: Connection, message: Any) -> None:
        self.received.append(message)
        if isinstance(message, Request):
            connection.send(await self.answer(message))
        elif isinstance(message, SubmitTasks):
            self.functions.update({k: loads(v) for k, v in message.functions.items()})
            self.specs.update({spec.key: spec for spec in message.tasks})
            self.todo += message.tasks
        elif isinstance(message, RetryKeys):
            self.todo += [self.specs[key] for key in message.keys]
        elif isinstance(message, WantKeys):
            connection.send(*filter(None, map(self._news, message.keys)))
        elif isinstance(message, CancelKeys):
            self.todo = [spec for spec in self.todo if spec.key not in message.keys]
            connection.send(*[KeyCancelled(key) for key in message.keys])
        elif isinstance(message, ReleaseKeys):
            for key in message.keys:
                self.data.pop(key, None)
        if not self.held:
            self.step()

    def _news(self, key: str) -> Any:
        if key in self.data:
            return self._in_memory(key)
        return None if key in self.specs else KeyCancelled(key, "it is unknown here")

    def step(self) -> None:
        """Run all that waits."""
        todo, self.todo = self.todo, []
        for spec in todo:
            self.tell(self.run(spec))

    def run(self, spec: TaskSpec) -> Any:
        """Compute one task and return the news of it."""
        try:
            args, kwargs = loads_call(spec.args, {key: self.data[key] for key in spec.dependencies})
            self.data[spec.key] = self.functions[spec.function](*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a task may raise anything
            return KeyErred(spec.key, dump_error(error, worker=self.address))
        return self._in_memory(spec.key)

    def _in_memory(self, key: str) -> KeyInMemory:
        value = self.data[key]
        result = dumps(value) if self.inline else None
        return KeyInMemory(key, type(value).__name__, 8, [self.address], result)

    def tell(self, *messages: Any) -> None:
        """Send to all clients."""
        for connection in self.connections:
            connection.send(*messages)

    def lose(self, key: str) -> None:
        """A result is gone and computed again at the next step."""
        self.data.pop(key, None)
        self.tell(KeyPending(key))
        self.todo.append(self.specs[key])

    @operation
    async def ncores(self, workers: list[str] | None = None) -> dict[str, int]:
        """Two threads here."""
        return {self.address: 2}

    @operation
    async def identity(self) -> dict[str, Any]:
        """As the real one."""
        about = {"name": "w", "nthreads": 2, "host": "127.0.0.1"}
        return {"type": "Scheduler", "id": self.id, "workers": {self.address: about}}

    @operation
    async def who_has(self, keys: list[str] | None = None) -> dict[str, list[str]]:
        """All is here."""
        self.requests.append("who_has")
        return {key: [self.address] for key in keys or self.data if key in self.data}

    @operation
    async def get_data(self, keys: list[str]) -> dict[str, Payload]:
        """As a worker."""
        self.requests.append("get_data")
        if self.unreachable:
            raise CommError("cannot connect to a worker behind a wall")
        return {key: dumps(self.data[key]) for key in keys if key in self.data}

    @operation
    async def update_data(self, data: dict[str, Payload]) -> dict[str, Any]:
        """As a worker."""
        self.requests.append("update_data")
        if self.unreachable:
            raise CommError("cannot connect to a worker behind a wall")
        self.data.update({key: loads(payload) for key, payload in data.items()})
        return {"nbytes": dict.fromkeys(data, 8)}

    @operation
    async def gather(self, keys: list[str]) -> dict[str, Payload]:
        """Relay."""
        self.requests.append("gather")
        return {key: dumps(self.data[key]) for key in keys if key in self.data}

    @operation
    async def scatter(
        self,
        data: dict[str, Payload],
        client: str,
        workers: list[str] | None = None,
        broadcast: bool = False,
    ) -> dict[str, list[str]]:
        """Relay."""
        self.requests.append("scatter")
        self.data.update({key: loads(payload) for key, payload in data.items()})
        return {key: [self.address] for key in data}

    @operation
    async def slow(self) -> str:
        """Never answers."""
        await asyncio.Event().wait()
        return ""
