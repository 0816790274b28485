"""Asking a worker for data, which it may point at rather than send."""

from __future__ import annotations

from distributed.errors import SharedMemoryError
from distributed.payloads import Payload
from distributed.pool import ConnectionPool
from distributed.sharing.exchange import Exchange

__all__ = ["request_data"]


async def request_data(
    pool: ConnectionPool,
    address: str,
    keys: list[str],
    nbytes: int,
    exchange: Exchange | None,
    timeout_s: float,
) -> dict[str, Payload]:
    """Return key -> payload of those of ``keys`` that the worker at ``address`` has.

    Raises what a request raises.
    """
    place = exchange.place_for(address, nbytes) if exchange is not None else ""
    if exchange is not None and place:
        found = await pool.request(address, "get_data", timeout_s=timeout_s, keys=keys, place=place)
        try:
            return {key: exchange.adopt(payload) for key, payload in found.items()}
        except SharedMemoryError as error:
            exchange.rest(address, error)
    answer: dict[str, Payload] = await pool.request(address, "get_data", timeout_s=timeout_s, keys=keys)
    return answer
