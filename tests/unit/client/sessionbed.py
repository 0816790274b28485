"""A session with a connection that is none, and short words for what it sends."""

from __future__ import annotations

import asyncio

from distributed.client.functions import Function
from distributed.client.session import Session
from distributed.messages import SubmitTasks, TaskSpec
from tests.aio import run_async
from tests.blocks import apart

DOUBLE = Function("f1", "double", b"code")


class StubConnection:
    """Keeps what is sent; takes nothing more while ``busy``."""

    def __init__(self):
        self.sent = []
        self.busy = False
        self.closed = False
        self.drains = 0
        self.bytes_per_message = 1000
        self.pending_bytes = 0
        self.turns = []
        self._incoming = asyncio.Queue()
        self._free = asyncio.Event()

    @property
    def pending(self):
        return 1 if self.busy else 0

    def send(self, *messages):
        self.sent += messages
        if not self.pending_bytes:
            self.turns.append(0)
            asyncio.get_running_loop().call_soon(self._flush)
        self.pending_bytes += self.bytes_per_message
        self.turns[-1] += 1

    def _flush(self):
        self.pending_bytes = 0

    async def drain(self):
        self.drains += 1
        while self.busy:
            await self._free.wait()

    def free(self):
        self.busy = False
        self._free.set()

    def abort(self):
        self.closed = True

    def arrive(self, *messages):
        self._incoming.put_nowait(list(messages))

    def break_(self, error):
        self._incoming.put_nowait(error)

    async def read(self):
        item = await self._incoming.get()
        if isinstance(item, Exception):
            raise item
        return item

    async def follow(self, take):
        while True:
            take(await self.read())


def spec(key, args=b"a"):
    return TaskSpec(key, "f1", args)


def tasks_in(sent):
    messages = (one for message in sent for one in apart(message))
    return [task.key for message in messages if isinstance(message, SubmitTasks) for task in message.tasks]


def with_session(test, **options):
    async def main():
        connection = StubConnection()
        session = Session(connection, "me", address="10.0.0.1:1", scheduler_id="s", secret=b"s" * 32, **options)
        try:
            await test(session, connection)
        finally:
            connection.free()
            await session.close()

    run_async(main())
