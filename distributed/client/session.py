"""A client's registered connection to its scheduler, and everything that must keep an order with
it.

Tasks and other messages are put into one queue by any thread; the loop is woken once per batch and
sends what is there, a bounded piece per turn, as fast as the socket takes it.  What the scheduler
says is applied to the :class:`~distributed.client.table.KeyTable` under one lock.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

from distributed.client.functions import Function
from distributed.client.table import KeyState, KeyTable, Status
from distributed.client.waiters import ThreadWaker
from distributed.comm import Connection
from distributed.errors import (
    CommError,
    ConnectionClosedError,
    ConnectionLostError,
    RemoteProtocolError,
    RequestTimeoutError,
)
from distributed.messages import (
    Goodbye,
    Message,
    Reply,
    Request,
    SubmitBlock,
    SubmitTasks,
    TaskSpec,
    WantKeys,
)
from distributed.payloads import Payload
from distributed.poller import Poller
from distributed.pool import ConnectionPool
from distributed.sharing.exchange import Exchange
from distributed.wire.failure import load_error
from distributed.wire.payload import payload_nbytes

__all__ = ["Session"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_TASKS_PER_MESSAGE: Final = 1000
_BYTES_PER_MESSAGE: Final = 2**23
_BYTES_PER_BATCH: Final = 2**17
_MANY_RELEASED: Final = 64
"""So many released keys are sent at once, fewer with the next message, or within ``_RELEASE_S``."""
_RELEASE_S: Final = 0.005
_LONGEST_WAY_S: Final = 0.02
"""So long a thread gives way at most: the loop may have other things to do."""
_FEWEST_PER_BLOCK: Final = 8
"""So many tasks in a row that differ in their arguments only travel as a block."""


class Session:
    """One client's life with one scheduler; made by
    :func:`distributed.client.opening.open_session`.

    Belongs to the loop it was made on; methods say if other threads may call them.
    ``scheduler_address`` is ``"host:port"``, ``scheduler_id`` names this very scheduler process;
    ``exchange`` knows what can be shared with workers on this host (``shared_memory``: its mode).
    """

    def __init__(
        self,
        connection: Connection,
        client_id: str,
        *,
        address: str,
        scheduler_id: str,
        secret: bytes,
        early: Sequence[Message] = (),
        shared_memory: str | None = None,
    ) -> None:
        self.id = client_id
        self.scheduler_address = address
        self.scheduler_id = scheduler_id
        self.loop = asyncio.get_running_loop()
        self.lock = threading.Lock()
        self.table = KeyTable(f"fence-{uuid.uuid4().hex}-")
        self.pool = ConnectionPool(secret, limit=128, role="client")
        self.exchange = Exchange(shared_memory)
        self.ended: CommError | None = None
        self._connection = connection
        self._poller = Poller.current()
        self.thread = threading.get_ident()
        self._outgoing: deque[TaskSpec | Message] = deque()
        self._released: deque[KeyState] = deque()
        self._known_functions: set[str] = set()
        self._unsent_functions: dict[str, Payload] = {}
        self._woken = False
        self._tidying = False
        self._draining = False
        self._giving_way: list[ThreadWaker] = []
        self._request_ids = itertools.count(2)
        self._requests: dict[int, asyncio.Future[Any]] = {}
        self._goodbye = ""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._own(self._read_forever(list(early)))

    def __repr__(self) -> str:
        return f"<Session {self.id} with {self.scheduler_address}{', ended' if self.ended else ''}>"

    def _own(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(coro)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- any thread --------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise the CommError that ended this session, if it has ended."""
        if self.ended is not None:
            raise type(self.ended)(str(self.ended), address=self.ended.address)

    def wake(self) -> None:
        """Have the loop look at what was queued.  Safe in destructors."""
        if not self._woken:
            self._woken = True
            self._call(self._on_wake)

    def _call(self, do: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            if threading.get_ident() == self.thread:
                self.loop.call_soon(self._poller.turn, do)
            else:
                self._poller.call(do)

    def silence(self) -> None:
        """In a forked child: never touch the loop, which belongs to the parent."""
        self._woken = self._tidying = True

    def submit(self, specs: Sequence[TaskSpec], function: Function) -> list[KeyState]:
        """Queue tasks of one function; return one state per task, shared by equal keys.

        Raises CommError if the session has ended.
        """
        acquire = self.table.acquire
        outgoing = self._outgoing
        states = []
        with self.lock:
            self.check()  # inside: after the end no key may begin to be pending
            self._count_released()
            self._know(function)
            for spec in specs:
                state, new = acquire(spec.key)
                states.append(state)
                if new:
                    outgoing.append(spec)
        self.wake()
        return states

    def submit_block(self, keys: Sequence[str], args: Sequence[Payload], function: Function) -> list[KeyState]:
        """As :meth:`submit`, of tasks without dependencies and options, given column by column."""
        with self.lock:
            self.check()
            self._count_released()
            self._know(function)
            states, new = self.table.acquire_all(keys)
            if new is not None:
                keys, args = [keys[i] for i in new], [args[i] for i in new]
            if keys:
                self._outgoing.append(SubmitBlock(function.id, list(keys), list(args)))
        self.wake()
        return states

    def _know(self, function: Function) -> None:
        if function.id not in self._known_functions:
            self._known_functions.add(function.id)
            self._unsent_functions[function.id] = function.payload

    def give_way(self) -> None:
        """Let the loop send what is queued if it has not begun, before this thread prepares more.

        From a busy thread the loop gets the interpreter's lock every 5 ms only, while the cluster has nothing to do.
        """
        if self._outgoing and threading.get_ident() != self.thread:
            waker = ThreadWaker()
            self._giving_way.append(waker)
            if self._outgoing:
                waker.wait(_LONGEST_WAY_S)

    def want(self, key: str) -> KeyState:
        """Return the state of a key that others may have submitted.  Raises CommError if the
        session has ended.
        """
        with self.lock:
            self.check()
            self._count_released()
            state, new = self.table.acquire(key)
            if new:
                self._outgoing.append(WantKeys([key]))
        self.wake()
        return state

    def forget(self, state: KeyState) -> None:
        """One future of a key is gone.  Takes no lock, so destructors may call it at any moment.

        Nobody waits for that: a few are sent with what comes next, or soon.
        """
        released = self._released
        released.append(state)
        if len(released) >= _MANY_RELEASED:
            if not self._woken:
                self.wake()
        elif not self._tidying:
            self._tidying = True
            self._call(self._tidy_soon)

    def cancel(self, states: Iterable[KeyState], force: bool = False) -> None:
        """Cancel keys, here at once and on the scheduler soon."""
        with self.lock:
            self._count_released()
            self._outgoing.extend(self.table.cancel(states, force))
        self.wake()

    def retry(self, states: Iterable[KeyState]) -> None:
        """Run failed keys again."""
        with self.lock:
            self.check()
            self._count_released()
            self._outgoing.extend(self.table.retry(states))
        self.wake()

    def refuse_own_thread(self) -> None:
        """Raise RuntimeError on the thread of the loop, which would wait for itself."""
        if threading.get_ident() == self.thread:
            raise RuntimeError(
                "this would block the event loop that the client runs on: await it there, with an asynchronous client"
            )

    def run(self, coro: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run a coroutine on the loop from another thread and return its result.

        Raises RequestTimeoutError after ``timeout_s`` seconds, and RuntimeError on the loop's own
        thread, which would wait for itself.
        """
        try:
            self.refuse_own_thread()
        except RuntimeError:
            coro.close()
            raise
        if self.loop.is_closed():
            coro.close()
            self.check()
            raise ConnectionClosedError("the client is closed", address=self.scheduler_address)
        future = asyncio.run_coroutine_threadsafe(coro, self.loop)
        try:
            return future.result(timeout_s)
        except concurrent.futures.CancelledError:
            self.check()  # the client was closed meanwhile
            raise
        except BaseException as error:
            if future.done():
                raise
            future.cancel()
            if isinstance(error, Exception):
                raise RequestTimeoutError(f"not done within {timeout_s:g} s") from error
            raise

    # -- on the loop -------------------------------------------------------------------------------

    async def request(self, op: str, *, patience_s: float | None = None, **kwargs: Any) -> Any:
        """Call an operation of the scheduler, in order with what was submitted before; return its
        result.

        Raises CommError if the scheduler is gone, RequestTimeoutError after ``patience_s`` seconds,
        and what the operation raised.
        """
        self.check()
        number = next(self._request_ids)
        answer: asyncio.Future[Any] = self.loop.create_future()
        self._requests[number] = answer
        self.post(Request(op, kwargs, number))
        try:
            return await asyncio.wait_for(answer, patience_s)
        except asyncio.TimeoutError as error:
            if answer.done() and not answer.cancelled():
                raise  # the operation itself raised it
            raise RequestTimeoutError(
                f"the scheduler at {self.scheduler_address} did not answer {op} within {patience_s:g} s"
            ) from error
        finally:
            self._requests.pop(number, None)

    def post(self, message: Message) -> None:
        """Queue one message to the scheduler, after all that was queued or released before.  Takes the lock."""
        with self.lock:
            self._count_released()
            self._outgoing.append(message)
        self.wake()

    def _on_wake(self) -> None:
        self._woken = False
        with self.lock:
            self._count_released()
        self._pump()
        while self._giving_way:
            self._giving_way.pop().wake()

    def _tidy_soon(self) -> None:
        self.loop.call_later(_RELEASE_S, self._tidy)

    def _tidy(self) -> None:
        self._tidying = False
        self._on_wake()

    def _count_released(self) -> None:
        """Count what was released until now (with the lock held): a key submitted after that is a new one."""
        released = self._released
        if released:
            batch = [released.popleft() for _ in range(len(released))]
            messages = self.table.release(batch)
            if self.ended is None:
                self._outgoing.extend(messages)

    def _pump(self) -> None:
        """Send a piece of what is queued, and come back for the rest when the socket can take it."""
        if self._draining or not self._outgoing or self.ended is not None:
            return
        if self._connection.pending:
            self._draining = True
            self._own(self._pump_when_drained())
            return
        try:
            # What fits goes as one batch: a message by itself costs everybody a turn.
            while self._outgoing and self._connection.pending_bytes < _BYTES_PER_BATCH:
                self._connection.send(self._next_message())
        except CommError:
            return  # the reader sees it too, and ends the session
        if not self._woken:
            # Even if nothing is left: who submits one task after the other need not wake the loop for each.
            self._woken = True
            self.loop.call_soon(self._on_wake)

    async def _pump_when_drained(self) -> None:
        await self._connection.drain()
        self._draining = False
        self._pump()

    def _next_message(self) -> Message:
        outgoing = self._outgoing
        first = outgoing.popleft()
        unsent = self._unsent_functions
        if not isinstance(first, TaskSpec):
            if unsent and type(first) is SubmitBlock and first.function in unsent:
                first.functions = {first.function: unsent.pop(first.function)}
            return first
        tasks = [first]
        size = payload_nbytes(first.args)
        alike = 1
        while outgoing and len(tasks) < _TASKS_PER_MESSAGE and size < _BYTES_PER_MESSAGE:
            spec = outgoing[0]
            if type(spec) is not TaskSpec:
                break
            if alike == len(tasks) and _are_alike(first, spec):
                alike += 1
            elif alike >= _FEWEST_PER_BLOCK:
                break
            tasks.append(spec)
            size += payload_nbytes(spec.args)
            del outgoing[0]
        functions = {}
        if unsent:
            for spec in tasks:
                if spec.function in unsent:
                    functions[spec.function] = unsent.pop(spec.function)
        if alike == len(tasks) >= _FEWEST_PER_BLOCK:
            keys, args = [spec.key for spec in tasks], [spec.args for spec in tasks]
            return SubmitBlock(first.function, keys, args, functions, first.dependencies)
        return SubmitTasks(tasks, functions)

    async def _read_forever(self, early: list[Message]) -> None:
        try:
            self._receive(early)
            await self._connection.follow(self._receive)
        except RemoteProtocolError as error:
            logger.error("the scheduler at %s sent nonsense: %s", self.scheduler_address, error)
            self._lose(f"disconnected from the scheduler at {self.scheduler_address}: {error}")
        except CommError as error:
            why = self._goodbye or str(error)
            self._lose(f"lost the scheduler at {self.scheduler_address}: {why}")

    def _receive(self, batch: list[Message]) -> None:
        apply = self.table.apply
        with self.lock:
            others = [message for message in batch if not apply(message)]
        for message in others:
            if isinstance(message, Reply):
                self._answered(message)
            elif isinstance(message, Goodbye):
                self._goodbye = message.reason
            else:
                logger.warning("unexpected %s from the scheduler", type(message).__name__)

    def _answered(self, reply: Reply) -> None:
        answer = self._requests.pop(reply.id, None)
        if answer is None or answer.done():
            if reply.error is not None:
                logger.warning("the scheduler refused a message: %s", reply.error.message)
        elif reply.error is not None:
            answer.set_exception(load_error(reply.error))
        else:
            answer.set_result(reply.result)

    def _lose(self, why: str) -> None:
        if self.ended is None:
            logger.warning("%s", why)
            self._end(ConnectionLostError(why, address=self.scheduler_address), "lost")

    def _end(self, reason: CommError, status: Status) -> None:
        self.ended = reason
        self._connection.abort()
        with self.lock:
            self._outgoing.clear()
            self.table.end_all(status, reason)
        for answer in self._requests.values():
            if not answer.done():
                answer.set_exception(type(reason)(str(reason), address=reason.address))
        self._requests.clear()
        self.wake()

    async def close(self, timeout_s: float = 2.0) -> None:
        """Send what is queued and leave; pending futures end as cancelled.  Idempotent."""
        if self.ended is None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._flush(), timeout_s)
            reason = ConnectionClosedError("the client is closed", address=self.scheduler_address)
            self._end(reason, "cancelled")
        await self.pool.close()
        mine = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in mine:
            task.cancel()
        if mine:
            await asyncio.wait(mine, timeout=timeout_s)

    async def _flush(self) -> None:
        with self.lock:
            self._count_released()
        while self._outgoing and not self._connection.closed:
            self._pump()
            await self._connection.drain()
            await asyncio.sleep(0)
        await self._connection.drain()


def _are_alike(one: TaskSpec, other: TaskSpec) -> bool:
    """Whether two tasks differ in keys and arguments only, and ask for nothing."""
    if one.options is not None or other.options is not None or one.function != other.function:
        return False
    return one.dependencies == other.dependencies
