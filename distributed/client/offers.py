"""Scattered data in shared memory, for workers on this host."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed.client.session import Session
from distributed.errors import SharedMemoryError
from distributed.payloads import Payload
from distributed.sharing.exchange import THRESHOLD, Shared
from distributed.wire.payload import payload_nbytes

__all__ = ["Offers"]


class Offers:
    """What one scatter puts into shared memory: each payload once, however many workers get it.

    The segments live as long as this object; workers that have opened them keep them.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._made: dict[str, asyncio.Future[Shared | None]] = {}

    async def send(self, worker: str, share: dict[str, Payload], timeout_s: float) -> dict[str, Any]:
        """Put data on a worker, by reference where that is possible; return its answer.

        Raises what a request raises.
        """
        exchange, pool = self._session.exchange, self._session.pool
        large = [key for key, payload in share.items() if payload_nbytes(payload) >= THRESHOLD]
        answer: dict[str, Any]
        if large and exchange.place_for(worker, THRESHOLD) and await self._is_near(worker, timeout_s):
            made = {key: await self._offer(key, share[key]) for key in large}
            offered = {key: shared.travels for key, shared in made.items() if shared is not None}
            try:
                answer = await pool.request(worker, "update_data", timeout_s=timeout_s, data={**share, **offered})
            except SharedMemoryError as error:
                exchange.rest(worker, error)
            else:
                return answer
        answer = await pool.request(worker, "update_data", timeout_s=timeout_s, data=share)
        return answer

    async def _is_near(self, worker: str, timeout_s: float) -> bool:
        places = self._session.exchange.places
        if worker not in places:
            places[worker] = await self._session.pool.request(worker, "place", timeout_s=timeout_s)
        return self._session.exchange.accepts(places[worker])

    async def _offer(self, key: str, payload: Payload) -> Shared | None:
        if key not in self._made:
            loop = asyncio.get_running_loop()
            self._made[key] = loop.run_in_executor(None, self._session.exchange.share, payload)
        return await asyncio.shield(self._made[key])
