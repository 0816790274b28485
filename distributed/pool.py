"""Calling operations of daemons: ``rpc("host:port").operation(**kwargs)``.

Remote exceptions are raised here with their type, message, cause and remote traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from distributed.clusterfile import resolve
from distributed.comm import Connection, connect
from distributed.errors import ConnectionClosedError, RemoteProtocolError, RequestTimeoutError
from distributed.messages import Reply, Request
from distributed.network import join_address
from distributed.wire.failure import load_error

__all__ = ["ConnectionPool", "call", "rpc"]


async def call(connection: Connection, op: str, kwargs: dict[str, Any], *, unpickle: bool = True) -> Any:
    """Call one operation over a connection that nobody else reads; return its result.

    Raises what the operation raised (without ``unpickle`` as RemoteError), LocalProtocolError for
    arguments that cannot be encoded, and CommError if the peer goes away.
    """
    connection.send(Request(op, kwargs))
    batch = await connection.read()
    if len(batch) != 1 or not isinstance(batch[0], Reply):
        connection.abort()
        raise RemoteProtocolError(f"{connection.peer} answered {op} by something that is no reply")
    if batch[0].error is not None:
        raise load_error(batch[0].error, unpickle=unpickle)
    return batch[0].result


class ConnectionPool:
    """Connections kept open between requests.

    ``limit`` bounds the open connections; further requests wait.  Without ``unpickle`` a remote
    exception is raised as RemoteError.  One loop's property: not for use from several.
    """

    def __init__(
        self,
        secret: bytes,
        *,
        limit: int = 512,
        role: str = "rpc",
        connect_timeout_s: float = 10.0,
        unpickle: bool = True,
    ) -> None:
        self._secret = secret
        self._unpickle = unpickle
        self._role = role
        self._connect_timeout_s = connect_timeout_s
        self._limit = limit
        self._idle: dict[str, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._underway = 0
        self._slots: asyncio.Semaphore | None = None
        self._closed = False

    async def request(self, address: str, op: str, *, timeout_s: float | None = None, **kwargs: Any) -> Any:
        """Call ``op`` of the daemon at ``"host:port"`` and return its result.

        Raises CommError if it cannot be reached or goes away, RequestTimeoutError after
        ``timeout_s`` seconds, and whatever the operation raised.
        """
        return await self.request_with(address, op, kwargs, timeout_s)

    async def request_with(self, address: str, op: str, kwargs: dict[str, Any], timeout_s: float | None = None) -> Any:
        """Do the same as ``request``, for operations that have an argument of one of its names."""
        if timeout_s is None:
            return await self._request(address, op, kwargs)
        # Not wait_for: a TimeoutError of the operation's own is an answer like any other.
        task = asyncio.ensure_future(self._request(address, op, kwargs))
        try:
            done, _ = await asyncio.wait([task], timeout=timeout_s)
        finally:
            if not task.done():
                task.cancel()
        if done:
            return task.result()
        await asyncio.wait([task])
        raise RequestTimeoutError(f"{address} did not answer {op} within {timeout_s:g} s")

    async def _request(self, address: str, op: str, kwargs: dict[str, Any]) -> Any:
        if self._slots is None:
            self._slots = asyncio.Semaphore(self._limit)
        async with self._slots:
            self._underway += 1
            try:
                return await self._call_at(address, op, kwargs)
            finally:
                self._underway -= 1

    async def _call_at(self, address: str, op: str, kwargs: dict[str, Any]) -> Any:
        connection = await self._take(address)
        self._busy.add(connection)
        try:
            result = await call(connection, op, kwargs, unpickle=self._unpickle)
        except Exception:
            self._give_back(address, connection)
            raise
        except BaseException:
            # Cancelled in the middle of a request: its reply would meet the next one.
            connection.abort()
            raise
        finally:
            self._busy.discard(connection)
        self._give_back(address, connection)
        return result

    async def _take(self, address: str) -> Connection:
        self._check_open(address)
        idle = self._idle.get(address, [])
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection
        self._idle.pop(address, None)
        self._make_room()
        connection = await connect(address, secret=self._secret, timeout_s=self._connect_timeout_s, role=self._role)
        if self._closed:
            connection.abort()
            self._check_open(address)
        return connection

    def _give_back(self, address: str, connection: Connection) -> None:
        if self._closed or not connection.sound:
            connection.abort()
        elif not connection.closed:
            self._idle.setdefault(address, []).append(connection)

    def _check_open(self, address: str) -> None:
        if self._closed:
            raise ConnectionClosedError(f"cannot connect to {address}: this side is closing", address=address)

    def _make_room(self) -> None:
        """Close idle connections to others rather than have more than ``limit`` open."""
        # The request that asks is under way already.
        excess = self._underway + sum(map(len, self._idle.values())) - self._limit
        for address in list(self._idle):
            idle = self._idle[address]
            while idle and excess > 0:
                idle.pop(0).abort()
                excess -= 1
            if not idle:
                del self._idle[address]

    def forget(self, address: str) -> None:
        """Close the idle connections to an address (it is known to be gone)."""
        for connection in self._idle.pop(address, []):
            connection.abort()

    async def close(self) -> None:
        """Close all connections; requests under way fail with ConnectionClosedError.  Idempotent."""
        self.abort()

    def abort(self) -> None:
        """Do the same as ``close`` without waiting."""
        self._closed = True
        idle = [connection for group in self._idle.values() for connection in group]
        self._idle.clear()
        for connection in [*self._busy, *idle]:
            connection.abort()


class rpc:  # noqa: N801 - the field's name since 2015
    """A daemon at ``"host:port"`` with its operations as methods: ``rpc("10.0.0.1:1").identity()``.

    Inside a running event loop a call starts at once and returns an awaitable of its result;
    elsewhere it runs to its end and returns the result.  ``secret`` defaults to that of the cluster
    that the environment names, else the user's own.  ``timeout_s`` bounds each call.
    """

    def __init__(
        self,
        address: str | tuple[str, int],
        *,
        secret: bytes | None = None,
        cluster: str | None = None,
        cluster_file: str | None = None,
        timeout_s: float | None = 30.0,
    ) -> None:
        self._address = address if isinstance(address, str) else join_address(*address)
        if secret is None:
            secret = resolve(self._address, cluster, cluster_file)[1]
        self._secret = secret
        self._timeout_s = timeout_s
        self._pool: ConnectionPool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<rpc {self._address}>"

    def __getattr__(self, op: str) -> Callable[..., Any]:
        if op.startswith("_"):
            raise AttributeError(op)

        def operation(**kwargs: Any) -> Any:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return asyncio.run(self._once(op, kwargs))
            return loop.create_task(self._pooled(loop, op, kwargs))

        operation.__name__ = op
        return operation

    async def _once(self, op: str, kwargs: dict[str, Any]) -> Any:
        pool = ConnectionPool(self._secret)
        try:
            return await pool.request_with(self._address, op, kwargs, self._timeout_s)
        finally:
            await pool.close()

    async def _pooled(self, loop: asyncio.AbstractEventLoop, op: str, kwargs: dict[str, Any]) -> Any:
        if self._pool is None or self._loop is not loop:
            # Connections of another loop are of no use here.
            self._drop_pool()
            self._pool, self._loop = ConnectionPool(self._secret), loop
        return await self._pool.request_with(self._address, op, kwargs, self._timeout_s)

    def _drop_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None or self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(pool.abort)
            return
        pool.abort()

    async def close_rpc(self) -> None:
        """Close the pooled connections."""
        if self._pool is not None:
            self._pool.abort()

    async def __aenter__(self) -> rpc:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close_rpc()

    def __del__(self) -> None:
        if getattr(self, "_pool", None) is not None:
            with contextlib.suppress(Exception):
                self._drop_pool()
