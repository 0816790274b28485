"""The sockets of all connections of one event loop, watched together.

A loop of ours (``eventloop.py``) has its poller for a selector: when sockets are ready, all of them take their turn
before the loop goes on.  Each receives once and gives what came to whoever follows it; then, at the end of the turn,
once for all of them, come the decisions and what is to be sent.  So a message costs neither an event of the loop nor a
task's step of its own, and the more messages come at once the less each costs.

On a loop of somebody else's each socket is an event of the loop, and a turn by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import mmap
import os
import select
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector, SelectorKey
from typing import Any, Final, Protocol

__all__ = ["READ", "WRITE", "Poller", "Selector", "Watched"]

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


class Selector(BaseSelector):
    """A selector for asyncio, by epoll; a poller's sockets are no keys of it, but have their turn in :meth:`select`.

    So they skip what asyncio does for an event, and the loop sleeps in one call of the system for both.
    ``take_turn`` is to call what it is given.
    """

    def __init__(self) -> None:
        self.take_turn: Callable[..., None] = lambda do, *args: do(*args)
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._close_bell = weakref.finalize(self, os.close, self._bell)
        self._close_bell.atexit = False
        self._epoll.register(self._bell, READ)
        self._calls: deque[Callable[[], None]] = deque()
        self._lock = threading.RLock()  # a destructor may call while this thread is in a call
        self._keys: dict[int, SelectorKey] = {}
        self._watched: dict[int, Watched] = {}

    def watch(self, descriptor: int, peer: Watched, events: int, before: int) -> None:
        """As :meth:`Poller.watch`."""
        if self._epoll.closed:
            return
        if not before:
            self._epoll.register(descriptor, events)
        elif events:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.unregister(descriptor)
        if events:
            self._watched[descriptor] = peer
        else:
            self._watched.pop(descriptor, None)

    def call(self, do: Callable[[], None]) -> None:
        """Have something called in a turn, soon.  From any thread; raises RuntimeError if this is closed."""
        self._calls.append(do)
        with self._lock:  # the number of a closed descriptor may be that of another file
            if self._epoll.closed:
                raise RuntimeError("the loop is closed")
            os.eventfd_write(self._bell, 1)

    def _answer(self) -> None:
        os.eventfd_read(self._bell)
        calls = self._calls
        try:
            for _ in range(len(calls)):
                calls.popleft()()
        finally:
            if calls:  # one of them went wrong; the others are not to blame
                os.eventfd_write(self._bell, 1)

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Wait for so many seconds at most; serve sockets that are watched, return what else is ready."""
        if timeout is None:
            wait_s = -1.0
        elif timeout <= 0:
            wait_s = 0.0
        else:
            wait_s = math.ceil(timeout * 1e3) * 1e-3  # else it would not sleep for the last part of a millisecond
        watched, keys = self._watched, self._keys
        ready: list[tuple[SelectorKey, int]] = []
        ours: list[tuple[int, int]] = []
        for descriptor, events in self._epoll.poll(wait_s, _MOST_READY):
            if descriptor in watched:
                ours.append((descriptor, events))
            elif descriptor == self._bell:
                self.take_turn(self._answer)
            elif (key := keys.get(descriptor)) is not None:
                # An error or an end is for whoever reads or writes.
                mask = (EVENT_READ if events & ~WRITE else 0) | (EVENT_WRITE if events & ~READ else 0)
                ready.append((key, mask & key.events))
        if ours:
            self.take_turn(self._serve, ours)
        return ready

    def _serve(self, ready: list[tuple[int, int]]) -> None:
        for descriptor, events in ready:
            peer = self._watched.get(descriptor)  # one before it may have closed it
            if peer is not None:
                peer.ready(events)

    # -- what asyncio has registered -------------------------------------------------------------------------------

    def register(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """Begin to watch a file for asyncio.  Raises KeyError if it is watched already."""
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if descriptor in self._keys:
            raise KeyError(f"{fileobj!r} is registered already")
        self._epoll.register(descriptor, _bits(events))
        key = self._keys[descriptor] = SelectorKey(fileobj, descriptor, events, data)
        return key

    def unregister(self, fileobj: Any) -> SelectorKey:
        """Watch it no more.  Raises KeyError if it is not watched."""
        key = self._keys.pop(self.get_key(fileobj).fd)
        with contextlib.suppress(OSError):  # it is closed
            self._epoll.unregister(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """Watch it for something else.  Raises KeyError if it is not watched."""
        key = self.get_key(fileobj)
        if events != key.events:
            self._epoll.modify(key.fd, _bits(events))
        changed = self._keys[key.fd] = key._replace(events=events, data=data)
        return changed

    def get_key(self, fileobj: Any) -> SelectorKey:
        """Return what is known of a file, which may be closed.  Raises KeyError if it is not watched."""
        if isinstance(fileobj, int):
            return self._keys[fileobj]
        for key in self._keys.values():
            if key.fileobj is fileobj:
                return key
        return self._keys[fileobj.fileno()]

    def get_map(self) -> Mapping[Any, SelectorKey]:
        """Return the keys by descriptor."""
        return self._keys

    def close(self) -> None:
        """End the watching."""
        with self._lock:
            self._epoll.close()
            self._close_bell()
        self._calls.clear()
        self._keys.clear()
        self._watched.clear()


def _bits(events: int) -> int:
    return (READ if events & EVENT_READ else 0) | (WRITE if events & EVENT_WRITE else 0)


class Poller:
    """Watches sockets for one loop: ``Poller.current()``.

    ``selector``: that of the loop, if it is ours.  ``buffer``: memory to receive into, which everybody uses and nobody
    keeps.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, selector: Selector | None = None) -> None:
        # A map, whose pages come when they are written: who receives little has but one of them.
        self.buffer = memoryview(mmap.mmap(-1, _BUFFER_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self._loop = loop
        self._selector = selector
        self._due: deque[Callable[[], None]] = deque()
        self._has_turn = False
        _POLLERS[loop] = weakref.ref(self)
        if selector is not None:
            selector.take_turn = self._take_turn  # which also keeps this alive

    @classmethod
    def current(cls) -> Poller:
        """Return that of the running loop."""
        loop = asyncio.get_running_loop()
        known = _POLLERS.get(loop)
        poller = known() if known is not None else None
        return poller if poller is not None else cls(loop)

    def watch(self, descriptor: int, peer: Watched, events: int, before: int) -> None:
        """Call ``peer.ready`` when the socket is ready for ``events`` (0: never); ``before`` is what was asked last."""
        if self._selector is not None:
            self._selector.watch(descriptor, peer, events, before)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            for bit, add, remove in (
                (READ, self._loop.add_reader, self._loop.remove_reader),
                (WRITE, self._loop.add_writer, self._loop.remove_writer),
            ):
                if events & bit:
                    add(descriptor, self.turn, peer.ready, bit)
                else:
                    remove(descriptor)

    def _take_turn(self, do: Callable[..., None], *args: Any) -> None:
        try:
            self.turn(do, *args)
        except Exception as error:  # noqa: BLE001 - the loop would end with it
            self._loop.call_exception_handler({"message": "a turn of sockets went wrong", "exception": error})

    def call(self, do: Callable[[], None]) -> None:
        """Have the loop do something in a turn, soon.  From any thread; raises RuntimeError if the loop is closed."""
        if self._selector is not None:
            self._selector.call(do)
        else:
            self._loop.call_soon_threadsafe(self.turn, do)

    def turn(self, do: Callable[..., None], *args: Any) -> None:
        """Do something as sockets do in their turn: what it sends leaves at its end, not after a round of the loop."""
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
