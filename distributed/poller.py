"""The sockets of all connections of one event loop, watched together.

The loop sees one descriptor, an epoll of ours, however many connections there are.  When it is ready, all sockets that
are ready take their turn: each receives once and gives what came to whoever follows it; then, at the end of the turn,
once for all of them, come the decisions and what is to be sent.  So a message costs neither an event of the loop nor a
task's step of its own, and the more messages come at once the less each costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import select
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

__all__ = ["READ", "WRITE", "Poller", "Watched"]

READ: Final = 1
"""EPOLLIN, for loops without epoll too."""
WRITE: Final = 4
"""EPOLLOUT."""
_MOST_READY: Final = 256
"""Sockets in one turn; others of the loop have theirs after it."""
_BUFFER_BYTES: Final = 2**18


_POLLERS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Poller]] = weakref.WeakKeyDictionary()


class Watched(Protocol):
    """What has a socket to be watched."""

    def ready(self, events: int) -> None:
        """Do what the socket is ready for (``READ``, ``WRITE``, or any other bit for its end)."""


class Poller:
    """Watches sockets for one loop: ``Poller.current()``.

    ``buffer``: memory to receive into, which everybody uses and nobody keeps.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # A map, whose pages come when they are written: who receives little has but one of them.
        self.buffer = memoryview(mmap.mmap(-1, _BUFFER_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self._loop = loop
        self._watched: dict[int, Watched] = {}
        self._epoll: select.epoll | None = None
        self._due: deque[Callable[[], None]] = deque()
        self._has_turn = False

    @classmethod
    def current(cls) -> Poller:
        """Return that of the running loop."""
        loop = asyncio.get_running_loop()
        known = _POLLERS.get(loop)
        poller = known() if known is not None else None
        if poller is None:
            poller = cls(loop)
            _POLLERS[loop] = weakref.ref(poller)
        return poller

    def watch(self, descriptor: int, peer: Watched, events: int, before: int) -> None:
        """Call ``peer.ready`` when the socket is ready for ``events`` (0: never); ``before`` is what was asked last."""
        if events:
            self._watched[descriptor] = peer
        else:
            self._watched.pop(descriptor, None)
        if not hasattr(select, "epoll"):
            self._watch_by_loop(descriptor, peer, events)
            return
        if self._epoll is None:
            if not events:
                return
            self._epoll = select.epoll()
            self._loop.add_reader(self._epoll.fileno(), self._turn)
        if not before:
            self._epoll.register(descriptor, events)
        elif events:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.unregister(descriptor)
            if not self._watched:
                self._close()

    def _close(self) -> None:
        """Nobody is left: keep no descriptor open, and nothing in the loop."""
        if self._epoll is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _watch_by_loop(self, descriptor: int, peer: Watched, events: int) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            for bit, add, remove in (
                (READ, self._loop.add_reader, self._loop.remove_reader),
                (WRITE, self._loop.add_writer, self._loop.remove_writer),
            ):
                if events & bit:
                    add(descriptor, self.turn, peer.ready, bit)
                else:
                    remove(descriptor)

    def _turn(self) -> None:
        if self._epoll is not None:
            self.turn(self._serve, self._epoll)

    def _serve(self, epoll: select.epoll) -> None:
        for descriptor, events in epoll.poll(0, _MOST_READY):
            peer = self._watched.get(descriptor)  # one before it may have closed it
            if peer is not None:
                peer.ready(events)

    def turn(self, do: Callable[..., None], *args: Any) -> None:
        """Do something as sockets do in their turn: what it sends leaves at its end, not one round of the loop later.

        Also for what another thread has the loop do.
        """
        self._has_turn = True  # what is to be done at its end need not be called by the loop
        try:
            do(*args)
        finally:
            self._end_turn()

    def at_end(self, call: Callable[[], None]) -> None:
        """Call at the end of this turn of sockets; when none has it, soon."""
        self._due.append(call)
        if not self._has_turn:
            self._has_turn = True
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        due = self._due
        try:
            while due:  # grows while it goes on
                due.popleft()()
        finally:
            self._has_turn = False
            if due:  # one of them went wrong; the others are not to blame
                self.at_end(due.popleft())
