"""How a worker finds its scheduler and joins it, and joins it again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed.clusterfile import ClusterFile
from distributed.comm import Connection, connect
from distributed.errors import AuthenticationError, CommError, ConfigError, RemoteProtocolError
from distributed.messages import Message, Reply, Request
from distributed.pool import call
from distributed.units import format_duration
from distributed.wire.failure import load_error

__all__ = ["Membership", "SchedulerSeeker"]

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_SHORT_MEMBERSHIP_S = 1.0
_CONNECT_TIMEOUT_S = 10.0
_REPLY_TIMEOUT_S = 30.0


class Membership:
    """A worker's place in the cluster: its ``connection`` to the scheduler at ``address``, and what
    that replied.

    ``messages`` came right behind the reply.
    """

    def __init__(self, connection: Connection, address: str, reply: dict[str, Any], messages: list[Message]) -> None:
        self.connection = connection
        self.address = address
        self.scheduler_id: str = reply["id"]
        self.name: str = reply["name"]
        self.heartbeat_s: float = reply["heartbeat_s"]
        self.messages = messages
        self.start_s = asyncio.get_running_loop().time()


class SchedulerSeeker:
    """Looks for the scheduler at ``addresses`` (``"host:port"``), or at those that ``cluster_file``
    names each time.

    ``death_timeout_s``: how long to try before giving up; None or 0: for ever.
    ``describe`` returns the arguments of the scheduler's ``register_worker``; ``changed`` is called
    when another scheduler than before is found, before it is joined.
    """

    def __init__(
        self,
        addresses: list[str],
        secret: bytes,
        *,
        describe: Callable[[], dict[str, Any]],
        changed: Callable[[], None],
        cluster_file: Path | None = None,
        death_timeout_s: float | None = 60.0,
    ) -> None:
        self.addresses = addresses
        self._secret = secret
        self._describe = describe
        self._changed = changed
        self._cluster_file = cluster_file
        self._death_timeout_s = death_timeout_s
        self._connect_timeout_s = min(_CONNECT_TIMEOUT_S, death_timeout_s or _CONNECT_TIMEOUT_S)
        self._scheduler_id = ""

    async def join(self) -> Membership:
        """Register with the scheduler, trying with growing pauses.

        Raises CommError after the death timeout.  On the first time also AuthenticationError for
        another secret and ConfigError if the scheduler refuses us; later both may be the shadow of
        something passing.
        """
        loop = asyncio.get_running_loop()
        start_s, pause_s, told = loop.time(), _FIRST_PAUSE_S, False
        while True:
            try:
                return await self._try_all()
            except (CommError, ConfigError, RemoteProtocolError) as error:
                if not self._scheduler_id and isinstance(error, AuthenticationError | ConfigError):
                    raise
                problem = error
            waited_s = loop.time() - start_s
            self._check_patience(waited_s, problem)
            if not told:
                logger.info("Waiting to connect to: %s (%s)", ", ".join(self.addresses), problem)
                told = True
            # Workers of one job should not all come back at the same moment.
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S, *self._rest(waited_s))

    async def pause(self, last: Membership) -> None:
        """Wait before joining again if the last membership was short: we may be thrown out again."""
        if asyncio.get_running_loop().time() - last.start_s < _SHORT_MEMBERSHIP_S:
            await asyncio.sleep(_SHORT_MEMBERSHIP_S * random.uniform(0.2, 0.4))

    def _rest(self, waited_s: float) -> list[float]:
        if not self._death_timeout_s:
            return []
        return [max(self._death_timeout_s - waited_s, _FIRST_PAUSE_S)]

    def _check_patience(self, waited_s: float, problem: Exception) -> None:
        if self._death_timeout_s and waited_s >= self._death_timeout_s:
            where = ", ".join(self.addresses)
            raise CommError(
                f"no scheduler at {where} for {format_duration(waited_s)}, giving up: {problem}",
                address=where,
            ) from problem

    async def _try_all(self) -> Membership:
        self._read_cluster_file()
        problem = CommError("no scheduler's address is known; give one, or --cluster NAME")
        for address in self.addresses:
            found = await self._try(address)
            if isinstance(found, Membership):
                return found
            problem = found
        raise problem

    def _read_cluster_file(self) -> None:
        if self._cluster_file is None:
            return
        try:
            self.addresses = ClusterFile.read(self._cluster_file).addresses
        except ConfigError as error:
            # Not written yet, or late on a network file system: what we know already may do.
            if not self.addresses:
                raise CommError(str(error)) from error

    async def _try(self, address: str) -> Membership | CommError:
        """Join at one address; return why it could not be reached.  A refusal is raised."""
        connection: Connection | None = None
        try:
            connection = await connect(address, secret=self._secret, timeout_s=self._connect_timeout_s, role="worker")
            return await asyncio.wait_for(self._register(connection, address), _REPLY_TIMEOUT_S)
        except asyncio.TimeoutError:
            assert connection is not None
            connection.abort()
            return CommError(f"{address} did not answer our registration", address=address)
        except BaseException as error:
            if connection is not None:
                connection.abort()
            if isinstance(error, CommError) and not isinstance(error, AuthenticationError):
                return error
            raise

    async def _register(self, connection: Connection, address: str) -> Membership:
        if self._scheduler_id:
            await self._recognize(connection)
        connection.send(Request("register_worker", self._describe(), 1))
        reply, *messages = await connection.read()
        if not isinstance(reply, Reply):
            raise RemoteProtocolError(f"{address} answered our registration by {type(reply).__name__}")
        if reply.error is not None:
            problem = load_error(reply.error)
            raise ConfigError(f"the scheduler at {address} refuses this worker: {problem}") from problem
        membership = Membership(connection, address, reply.result, messages)
        self._scheduler_id = membership.scheduler_id
        return membership

    async def _recognize(self, connection: Connection) -> None:
        identity = await call(connection, "identity", {})
        if identity["id"] != self._scheduler_id:
            logger.info(
                "another scheduler answers at %s: dropping what was computed for the old one",
                connection.peer,
            )
            self._scheduler_id = identity["id"]
            self._changed()
