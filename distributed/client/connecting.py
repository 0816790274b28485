"""The life of a client: finding the cluster, connecting, being the default one, closing."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tornado.ioloop import IOLoop

from distributed.client.callbacks import CallbackThread
from distributed.client.defaults import (
    after_fork,
    forget_client,
    live_clients,
    remember_client,
)
from distributed.client.loops import LoopThread
from distributed.client.opening import Target, named_target, open_session, running_targets
from distributed.client.session import Session
from distributed.errors import CommError, ConfigError, ConnectionClosedError, DistributedError
from distributed.local import LocalCluster
from distributed.sharing.exchange import chosen_mode

__all__ = ["Connecting"]

logger = logging.getLogger(__name__)

_REPR_TIMEOUT_S = 1.0
_EXIT_TIMEOUT_S = 1.0

Self = TypeVar("Self", bound="Connecting")


class Connecting:
    """Part of :class:`~distributed.client.client.Client`.  ``timeout_s``: how long to try to
    connect.
    """

    def __init__(
        self,
        address: object = None,
        *,
        cluster: str | None = None,
        cluster_file: str | Path | None = None,
        secret: bytes | None = None,
        timeout_s: float = 10.0,
        asynchronous: bool = False,
        name: str | None = None,
        timeout: float | None = None,
        start: bool = True,
        loop: IOLoop | None = None,
        shared_memory: str | None = None,
    ) -> None:
        self._session: Session | None = None
        self._runner: LoopThread | None = None
        self._starting = threading.Lock()
        self._closed = self._forked = False
        self._local: LocalCluster | None = None
        self._threads: dict[str, int] = {}
        self._wanted = (address, cluster, cluster_file, secret)
        self._name = name
        self._given_loop = loop
        self._shared_memory = chosen_mode(shared_memory)
        self._asynchronous = asynchronous
        self.timeout_s = timeout_s if timeout is None else timeout  # the founding name
        self.callbacks = CallbackThread("client-callbacks")
        self._prepare()
        if start and not asynchronous and not _in_running_loop():
            self._start()

    def _prepare(self) -> None:
        """For subclasses: what they need before there is a connection."""

    def __repr__(self) -> str:
        session = self._session
        if session is None or session.ended is not None:
            return f"<{type(self).__name__}: not connected>"
        threads = self._threads
        if not self._asynchronous and threading.get_ident() != session.thread:
            try:
                threads = session.run(session.request("ncores", patience_s=_REPR_TIMEOUT_S))
            except DistributedError:
                return f"<{type(self).__name__}: scheduler={session.scheduler_address}, no answer>"
        where = f"scheduler={session.scheduler_address}"
        size = f"workers={len(threads)} threads={sum(threads.values())}"
        return f"<{type(self).__name__}: {where} {size}>"

    # -- state -------------------------------------------------------------------------------------

    @property
    def asynchronous(self) -> bool:
        """Whether methods that otherwise block return awaitables."""
        return self._asynchronous

    @property
    def session(self) -> Session:
        """The connection to the scheduler, made now if there was none yet.

        Raises RuntimeError in a forked child, and ConnectionClosedError after ``close``.
        """
        return self._session or self._start()

    @property
    def id(self) -> str:
        """The client's name at the scheduler."""
        return self.session.id

    @property
    def scheduler_address(self) -> str:
        """``"ip:port"`` of the scheduler."""
        return self.session.scheduler_address

    @property
    def status(self) -> str:
        """``"connecting"``, ``"running"`` or ``"closed"`` (also when the scheduler is gone)."""
        if self._closed or self._forked:
            return "closed"
        if self._session is None:
            return "connecting"
        return "running" if self._session.ended is None else "closed"

    # -- beginning ---------------------------------------------------------------------------------

    def _refuse_if_over(self) -> None:
        if self._forked:
            raise RuntimeError(
                f"process {os.getpid()} was forked from the one that made this client and cannot "
                "use its connection: make a new Client here"
            )
        if self._closed:
            raise ConnectionClosedError("the client is closed")

    def _start(self) -> Session:
        """Connect, blocking."""
        self._refuse_if_over()
        if self._asynchronous:
            raise RuntimeError("this client is not connected yet: 'await client' or 'async with client' first")
        with self._starting:
            if self._session is not None:
                return self._session
            runner = LoopThread("client", self._given_loop)
            opening = asyncio.run_coroutine_threadsafe(self._open(), runner.loop)
            try:
                self._session = opening.result()
            except BaseException:
                opening.cancel()
                runner.stop()
                self._end_local()
                raise
            self._runner = runner
        _enter(self)
        return self._session

    async def _start_here(self: Self) -> Self:
        """Connect on the running loop, and be asynchronous; nothing if there is a connection."""
        self._refuse_if_over()
        if self._session is None:
            self._asynchronous = True
            try:
                self._session = await self._open()
            except BaseException:
                self._end_local()
                raise
            _enter(self)
        return self

    async def _open(self) -> Session:
        target = named_target(*self._wanted) or await self._found()
        session = await open_session(
            target, timeout_s=self.timeout_s, name=self._name, shared_memory=self._shared_memory
        )
        try:
            self._threads = await session.request("ncores", patience_s=self.timeout_s)
        except BaseException:
            await session.close()
            raise
        return session

    async def _found(self) -> Target:
        """The one running cluster of this user, or one started here and now."""
        running = await running_targets()
        if len(running) > 1:
            names = ", ".join(target.name for target in running)
            raise ConfigError(
                f"several clusters of yours are running: {names}; say which by "
                "Client(cluster=NAME) or in the environment by DLAUNCH_CLUSTER",
                key="cluster",
            )
        if running:
            return running[0]
        logger.info("no cluster is running: starting one on this machine")
        self._local = await asyncio.get_running_loop().run_in_executor(None, LocalCluster)
        target = named_target(self._local)
        assert target is not None
        return target

    # -- ending ------------------------------------------------------------------------------------

    def close(self, timeout_s: float = 2.0) -> Any:
        """Leave the cluster: pending futures end as cancelled, a cluster that this client started
        ends.  Idempotent.

        What was submitted is still sent, for up to ``timeout_s`` seconds.  Returns an awaitable if
        asynchronous.
        """
        if self._asynchronous:
            return asyncio.ensure_future(self._close(timeout_s))
        if self._session is not None and not self._closed and not self._forked:
            try:
                self._session.run(self._session.close(timeout_s), timeout_s + 3.0)
            except (DistributedError, RuntimeError) as error:
                logger.debug("closing: %s", error)
        self._leave()
        if self._runner is not None:
            self._runner.stop()
        self._end_local()
        return None

    async def _close(self, timeout_s: float = 2.0) -> None:
        if self._session is not None and not self._closed and not self._forked:
            await self._session.close(timeout_s)
        self._leave()
        if self._local is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._end_local)

    def shutdown(self, timeout: float = 10.0) -> Any:
        """The founding name of :meth:`close`."""
        return self.close(timeout)

    def _leave(self) -> None:
        self._closed = True
        forget_client(self)
        self.callbacks.stop()

    def _end_local(self) -> None:
        local, self._local = self._local, None
        if local is not None:
            local.close()

    def _abandon(self) -> None:
        """In a forked child: nothing of the parent's connection may be touched."""
        self._forked = True
        session, self._session = self._session, None
        if session is not None:
            session.silence()
        self._runner = self._local = None

    def __enter__(self: Self) -> Self:
        if self._asynchronous:
            raise TypeError("an asynchronous client is entered by 'async with'")
        if self._session is None:
            self._start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self: Self) -> Self:
        return await self._start_here()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._asynchronous:
            await self._close()
        else:
            await asyncio.get_running_loop().run_in_executor(None, self.close)

    def __del__(self) -> None:
        session, runner = getattr(self, "_session", None), getattr(self, "_runner", None)
        if session is None or self._closed or self._forked:
            return
        if runner is not None:
            runner.stop_after(session.close)
        self.callbacks.stop(0.0)
        if self._local is not None:
            self._local.close_soon()


def _in_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


_hooks_set = False


def _enter(client: Connecting) -> None:
    """The client is connected: make it the default one, and see to the end of the process."""
    global _hooks_set
    if not _hooks_set:
        _hooks_set = True
        atexit.register(_close_all)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_abandon_all)
    remember_client(client)


def _close_all() -> None:
    for client in live_clients():
        if not client.asynchronous:
            try:
                client.close(_EXIT_TIMEOUT_S)
            except CommError as error:
                logger.debug("closing at exit: %s", error)


def _abandon_all() -> None:
    for client in after_fork():
        client._abandon()
