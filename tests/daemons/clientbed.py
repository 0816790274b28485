"""Small schedulers on a loop of their own, and what tests of clients do with them."""

from __future__ import annotations

import asyncio

from distributed.client.loops import LoopThread
from tests.daemons.fake_scheduler import FakeScheduler


def inc(x):
    return x + 1


def fail(x):
    raise ValueError("bad", x)


def received(scheduler, kind):
    return [message for message in scheduler.received if isinstance(message, kind)]


class SchedulerBed:
    """Starts schedulers in a thread and ends them all."""

    def __init__(self):
        self.thread = LoopThread("schedulers")
        self.daemons = []

    def run(self, coro):
        """Run a coroutine on the schedulers' loop."""
        return asyncio.run_coroutine_threadsafe(coro, self.thread.loop).result(10.0)

    def on(self, function, *args):
        """Call a function on the schedulers' loop."""

        async def call():
            return function(*args)

        return self.run(call())

    def start(self, kind=FakeScheduler, **options):
        """Start a daemon; ``options`` are its constructor's."""

        async def begin():
            daemon = kind(**options)
            await daemon.start(0)
            return daemon

        self.daemons.append(self.run(begin()))
        return self.daemons[-1]

    def close(self):
        """End everything."""
        for daemon in self.daemons:
            self.run(daemon.close())
        self.thread.stop()
