"""A thread that prepares much lets the loop send what is ready."""

from __future__ import annotations

import asyncio
import threading

from tests.aio import until, until_sync
from tests.unit.client.sessionbed import DOUBLE, tasks_in, with_session


class Stall:
    """Holds up the loop of a session until ``over``."""

    def __init__(self, session):
        self._begun, self.over = threading.Event(), threading.Event()
        session.loop.call_soon_threadsafe(self._wait)
        assert self._begun.wait(10)

    def _wait(self):
        self._begun.set()
        assert self.over.wait(10)


def test_who_prepares_more_gives_way_until_the_loop_has_sent(monkeypatch):
    monkeypatch.setattr("distributed.client.session._LONGEST_WAY_S", 10.0)

    def prepare(session, connection):
        stall = Stall(session)
        session.submit_block(["x"], [b"a"], DOUBLE)
        helper = threading.Thread(target=lambda: (until_sync(lambda: session._giving_way), stall.over.set()))
        helper.start()
        session.give_way()
        helper.join()
        return tasks_in(connection.sent)

    async def test(session, connection):
        assert await asyncio.to_thread(prepare, session, connection) == ["x"]
        await asyncio.to_thread(session.give_way)  # nothing is queued
        assert not session._giving_way
        session.submit_block(["y"], [b"a"], DOUBLE)
        session.give_way()  # on the loop's own thread, which would wait for itself

    with_session(test)


def test_who_prepares_more_does_not_wait_long_for_a_loop_that_is_busy():
    def prepare(session, connection):
        stall = Stall(session)
        session.submit_block(["x"], [b"a"], DOUBLE)
        session.give_way()
        sent = tasks_in(connection.sent)
        stall.over.set()
        return sent

    async def test(session, connection):
        assert await asyncio.to_thread(prepare, session, connection) == []
        await until(lambda: tasks_in(connection.sent) == ["x"])

    with_session(test)
