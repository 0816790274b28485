"""What a client knows of each key: pure bookkeeping, no thread and no socket.

A key has one :class:`KeyState`, shared by all futures of it, and a count of them.  The last one
gone means that the key is released.

The client may release a key and submit the same key again while the scheduler's word about the
first one is still on its way.  Since one connection keeps the order, a *fence* separates the two:
the client asks for a key that cannot exist, and until the scheduler has answered that, what it says
of the submitted key is about the earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from distributed.errors import CancelledError, CommError, WorkerLostError
from distributed.messages import (
    CancelKeys,
    ErrorInfo,
    KeyCancelled,
    KeyErred,
    KeyInMemory,
    KeyLost,
    KeyPending,
    KeysInMemory,
    Message,
    ReleaseKeys,
    RetryKeys,
    WantKeys,
)
from distributed.tables import shrink
from distributed.wire.failure import load_error

__all__ = ["KeyState", "KeyTable", "Remote", "Status", "Waiter", "exception_of"]

Status: TypeAlias = Literal["pending", "finished", "error", "lost", "cancelled"]
PENDING: Final = "pending"
FINISHED: Final = "finished"
ERROR: Final = "error"
LOST: Final = "lost"
CANCELLED: Final = "cancelled"


class Waiter(Protocol):
    """Something that waits for keys to end.  ``notify`` is called once per key that it was added
    to.
    """

    def notify(self, state: KeyState) -> None:
        """The key has ended: finished, error, lost or cancelled."""


class Remote(NamedTuple):
    """A result that lies on workers: their addresses, and its size in bytes."""

    workers: list[str]
    nbytes: int


class KeyState(msgspec.Struct, eq=False, gc=False):
    """One key as the client sees it.  Of these there may be millions: the garbage collector does not look at them.

    ``refs`` counts its futures.  ``detail`` is the payload of a finished key's result if it came
    along, else a :class:`Remote`; of a failed key its :class:`ErrorInfo` or exception.  ``behind``
    is the number of the fence that the scheduler's word about this key comes after.
    """

    key: str
    behind: int = 0
    refs: int = 1
    status: Status = PENDING
    type_name: str = ""
    detail: bytes | list[Any] | Remote | ErrorInfo | BaseException | None = None
    waiters: tuple[Waiter, ...] = ()

    def __repr__(self) -> str:
        return f"<KeyState {self.key}: {self.status}, {self.refs} futures>"

    def end(self, status: Status, detail: Any) -> None:
        """The key has ended: tell all who wait."""
        self.detail = detail  # before the status: other threads look at that first
        self.status = status
        waiters = self.waiters
        if waiters:
            self.waiters = ()
            for waiter in waiters:
                waiter.notify(self)

    def reopen(self) -> None:
        """The key is to be computed again."""
        if self.status != CANCELLED:
            self.status = PENDING
            self.detail = None


def exception_of(state: KeyState) -> BaseException | None:
    """Return a fresh exception to raise for a key that failed, None if it did not."""
    if state.status in (PENDING, FINISHED):
        return None
    detail = state.detail
    if isinstance(detail, ErrorInfo):
        return load_error(detail, state.key)
    if isinstance(detail, CommError):
        return type(detail)(str(detail), address=detail.address)
    if isinstance(detail, WorkerLostError):
        return WorkerLostError(state.key, detail.workers)
    if isinstance(detail, CancelledError):
        error = CancelledError(state.key)
        error.args = detail.args
        return error
    return CancelledError(state.key)


class KeyTable:
    """All keys of one client.  ``fence_prefix`` begins the names of its fences: no task may have
    such a key.

    Not safe for use from several threads at once; methods return the messages that the scheduler
    must get, in order.
    """

    def __init__(self, fence_prefix: str) -> None:
        self.states: dict[str, KeyState] = {}
        self._fence_prefix = fence_prefix
        self._fences_sent = 0
        self._fences_back = 0
        self._ghosts: dict[str, int] = {}
        self._names: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.states)

    def acquire(self, key: str) -> tuple[KeyState, bool]:
        """Return the state of ``key`` for one more future, and whether the scheduler must be told
        of it.
        """
        state = self.states.get(key)
        if state is not None and state.status != LOST:
            state.refs += 1
            return state, False
        ghosts = self._ghosts
        state = KeyState(key, ghosts.get(key, 0) if ghosts else 0)
        self.states[key] = state
        return state, True

    def acquire_all(self, keys: Sequence[str]) -> tuple[list[KeyState], list[int] | None]:
        """Return the states of ``keys`` for one more future each, and the places of those that the scheduler must be
        told of, None for all.
        """
        states, ghosts = self.states, self._ghosts
        if not ghosts and states.keys().isdisjoint(keys):
            fresh = dict(zip(keys, map(KeyState, keys), strict=True))
            if len(fresh) == len(keys):
                states.update(fresh)
                return list(fresh.values()), None
        acquired = [self.acquire(key) for key in keys]
        return [state for state, _ in acquired], [i for i, (_, new) in enumerate(acquired) if new]

    def release(self, states: Iterable[KeyState]) -> list[Message]:
        """Count one future less for each state given (repeatedly if need be)."""
        gone: list[str] = []
        abandoned: list[str] = []
        for state in states:
            state.refs -= 1
            if state.refs == 0 and self.states.get(state.key) is state:
                del self.states[state.key]
                gone.append(state.key)
                if state.status == PENDING:
                    abandoned.append(state.key)
        if not gone:
            return []
        shrink(self.states)
        return [ReleaseKeys(gone), *self._fence(abandoned)]

    def cancel(self, states: Iterable[KeyState], force: bool = False) -> list[Message]:
        """End these keys as cancelled, here at once and on the scheduler soon."""
        cancelled = [s for s in states if self.states.get(s.key) is s and s.status in (PENDING, FINISHED)]
        keys = []
        for state in cancelled:
            if self.states.pop(state.key, None) is not None:  # the same key may be given twice
                keys.append(state.key)
                state.end(CANCELLED, None)
        if not keys:
            return []
        # The scheduler keeps a task that others want; this client's want ends in any case.
        return [CancelKeys(keys, force), ReleaseKeys(keys), *self._fence(keys)]

    def retry(self, states: Iterable[KeyState]) -> list[Message]:
        """Run these failed keys again."""
        failed = {s.key: s for s in states if s.status == ERROR and self.states.get(s.key) is s}
        for state in failed.values():
            state.reopen()
        return [RetryKeys(list(failed))] if failed else []

    def _fence(self, keys: list[str]) -> list[Message]:
        """Mark keys whose news may still be under way."""
        if not keys:
            return []
        self._fences_sent += 1
        for key in keys:
            self._ghosts[key] = self._fences_sent
        return [WantKeys([f"{self._fence_prefix}{self._fences_sent}"])]

    def _fence_came_back(self, number: int) -> None:
        self._fences_back = number
        self._ghosts = {key: n for key, n in self._ghosts.items() if n > number}

    def finish(self, key: str, detail: Remote, type_name: str = "") -> None:
        """A key of data that this client itself put on workers is there."""
        state = self.states.get(key)
        if state is not None:
            state.type_name = type_name
            state.end(FINISHED, detail)

    def apply(self, message: Message) -> bool:
        """Take in one message of the scheduler; return False for what is no news of a key."""
        kind = type(message)
        if kind is KeyInMemory:
            self._in_memory(message)  # type: ignore[arg-type]
            return True
        if kind is KeysInMemory:
            self._block_in_memory(message)  # type: ignore[arg-type]
            return True
        if not isinstance(message, KeyErred | KeyCancelled | KeyPending | KeyLost):
            return False
        state = self.states.get(message.key)
        if state is None:
            if message.key.startswith(self._fence_prefix):
                self._fence_came_back(int(message.key[len(self._fence_prefix) :]))
        elif state.behind <= self._fences_back:
            self._change(state, message)
        return True

    def _in_memory(self, message: KeyInMemory) -> None:
        state = self.states.get(message.key)
        if state is None or state.behind > self._fences_back:
            return
        name = message.type_name
        state.type_name = self._names.setdefault(name, name)
        result = message.result
        if result is not None:
            detail: Any = result
        else:
            detail = Remote([self._names.setdefault(w, w) for w in message.workers], message.nbytes)
        if state.status == FINISHED:
            state.detail = detail
        elif state.status == PENDING:
            state.end(FINISHED, detail)

    def _block_in_memory(self, block: KeysInMemory) -> None:
        """As many keys as came at once; what they share is made once."""
        names, states, back = self._names, self.states, self._fences_back
        type_name = names.setdefault(block.type_name, block.type_name)
        workers = [names.setdefault(worker, worker) for worker in block.workers]
        for key, nbytes, result in zip(block.keys, block.nbytes, block.results, strict=True):
            state = states.get(key)
            if state is None or state.behind > back:
                continue
            state.type_name = type_name
            detail: Any = Remote(workers, nbytes) if result is None else result
            if state.status == PENDING:
                state.end(FINISHED, detail)
            elif state.status == FINISHED:
                state.detail = detail

    def _change(self, state: KeyState, message: KeyErred | KeyCancelled | KeyPending | KeyLost) -> None:
        if isinstance(message, KeyPending):
            state.reopen()
        elif isinstance(message, KeyErred):
            if state.status != ERROR:
                state.end(ERROR, message.error)
        elif isinstance(message, KeyLost):
            if state.status != LOST:
                state.end(LOST, WorkerLostError(message.key, message.workers))
        else:
            del self.states[message.key]
            error = CancelledError(message.key)
            if message.reason:
                error.args = (f"{error}: {message.reason}",)
            state.end(CANCELLED, error)

    def end_all(self, status: Status, reason: BaseException) -> None:
        """The scheduler is gone for this client: no pending key will end by itself."""
        for state in list(self.states.values()):
            if state.status == PENDING:
                state.end(status, reason)
