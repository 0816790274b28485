"""Calling operations of daemons: ``rpc("host:port").operation(**kwargs)``.

Remote exceptions are raised here with their type, message, cause and remote traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from distributed.clusterfile import resolve
from distributed.comm import Connection, connect
from distributed.errors import CommError, ConnectionClosedError, RemoteProtocolError, RequestTimeoutError
from distributed.messages import Reply, Request
from distributed.wire.failure import load_error

__all__ = ["ConnectionPool", "call", "rpc"]


async def call(connection: Connection, op: str, kwargs: dict[str, Any]) -> Any:
    """Call one operation over a connection that nobody else reads, and return its result or raise its error."""
    connection.send(Request(op, kwargs))
    batch = await connection.read()
    if len(batch) != 1 or not isinstance(batch[0], Reply):
        connection.abort()
        raise RemoteProtocolError(f"{connection.peer} answered {op} by something that is no reply")
    if batch[0].error is not None:
        raise load_error(batch[0].error)
    return batch[0].result


class ConnectionPool:
    """Connections kept open between requests.

    ``limit`` bounds the open connections; further requests wait.  One loop's property: not for use from several.
    """

    def __init__(self, secret: bytes, *, limit: int = 512, role: str = "rpc", connect_timeout_s: float = 10.0) -> None:
        self._secret = secret
        self._role = role
        self._connect_timeout_s = connect_timeout_s
        self._limit = limit
        self._idle: dict[str, list[Connection]] = defaultdict(list)
        self._busy: set[Connection] = set()
        self._slots: asyncio.Semaphore | None = None
        self._closed = False

    async def request(self, address: str, op: str, *, timeout_s: float | None = None, **kwargs: Any) -> Any:
        """Call ``op`` of the daemon at ``"host:port"`` and return its result.

        Raises CommError if it cannot be reached or goes away, RequestTimeoutError after ``timeout_s`` seconds, and
        whatever the operation raised.
        """
        if self._closed:
            raise ConnectionClosedError(f"cannot connect to {address}: this side is closing", address=address)
        if self._slots is None:
            self._slots = asyncio.Semaphore(self._limit)
        async with self._slots:
            try:
                return await asyncio.wait_for(self._request(address, op, kwargs), timeout_s)
            except asyncio.TimeoutError as error:
                raise RequestTimeoutError(f"{address} did not answer {op} within {timeout_s:g} s") from error

    async def _request(self, address: str, op: str, kwargs: dict[str, Any]) -> Any:
        connection = await self._take(address)
        self._busy.add(connection)
        whole = False  # cancelled in the middle of a request: its reply would meet the next one
        try:
            result = await call(connection, op, kwargs)
            whole = True
            return result
        except Exception:
            whole = True
            raise
        finally:
            self._busy.discard(connection)
            if whole and not self._closed and not connection.closed:
                self._idle[address].append(connection)
            else:
                connection.abort()

    async def _take(self, address: str) -> Connection:
        idle = self._idle[address]
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection
        self._make_room()
        return await connect(
            address, secret=self._secret, timeout_s=self._connect_timeout_s, role=self._role
        )

    def _make_room(self) -> None:
        """Close idle connections to others rather than have more than ``limit`` open."""
        total = len(self._busy) + sum(map(len, self._idle.values()))
        for idle in list(self._idle.values()):
            while idle and total >= self._limit:
                idle.pop().abort()
                total -= 1

    def forget(self, address: str) -> None:
        """Close the idle connections to an address (it is known to be gone)."""
        for connection in self._idle.pop(address, []):
            connection.abort()

    async def close(self) -> None:
        """Close all connections; requests under way fail with ConnectionClosedError.  Idempotent."""
        self._closed = True
        for connection in [*self._busy, *(c for idle in self._idle.values() for c in idle)]:
            connection.abort()
        self._idle.clear()


class rpc:  # noqa: N801 - the field's name since 2015
    """A daemon at ``"host:port"`` whose operations are methods: ``rpc("10.0.0.1:8786").identity()``.

    Inside a running event loop a call starts at once and returns an awaitable of its result; elsewhere it runs to
    its end and returns the result.  ``secret`` defaults to that of the cluster that the environment names, else the
    user's own.  ``timeout_s`` bounds each call.
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
        self._address = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
        self._secret = secret or resolve(self._address, cluster, cluster_file)[1]
        self._timeout_s = timeout_s
        self._pool: ConnectionPool | None = None

    def __repr__(self) -> str:
        return f"<rpc {self._address}>"

    def __getattr__(self, op: str) -> Callable[..., Any]:
        if op.startswith("_"):
            raise AttributeError(op)

        def operation(**kwargs: Any) -> Any:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return asyncio.run(self._once(op, kwargs))
            return asyncio.ensure_future(self._pooled(op, kwargs))

        operation.__name__ = op
        return operation

    async def _once(self, op: str, kwargs: dict[str, Any]) -> Any:
        pool = ConnectionPool(self._secret)
        try:
            return await pool.request(self._address, op, timeout_s=self._timeout_s, **kwargs)
        finally:
            await pool.close()

    async def _pooled(self, op: str, kwargs: dict[str, Any]) -> Any:
        if self._pool is None:
            self._pool = ConnectionPool(self._secret)
        return await self._pool.request(self._address, op, timeout_s=self._timeout_s, **kwargs)

    async def close_rpc(self) -> None:
        """Close the pooled connections."""
        if self._pool is not None:
            await self._pool.close()

    async def __aenter__(self) -> rpc:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close_rpc()

    def __del__(self) -> None:
        pool, self._pool = getattr(self, "_pool", None), None
        if pool is not None:
            with contextlib.suppress(Exception):
                for idle in pool._idle.values():
                    for connection in idle:
                        connection.abort()
