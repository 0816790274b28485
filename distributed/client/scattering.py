"""Putting the client's data on workers, directly where they can be reached, else through the
scheduler.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from distributed.client.offers import Offers
from distributed.client.session import Session
from distributed.client.table import KeyState, Remote
from distributed.errors import CommError, NoWorkersError, RequestTimeoutError
from distributed.messages import DataScattered
from distributed.payloads import Payload
from distributed.wire.payload import payload_nbytes

__all__ = ["choose_workers", "scatter"]

logger = logging.getLogger(__name__)

_BYTES_PER_REQUEST: Final = 2**26
_REQUESTS_AT_ONCE: Final = 16
_REQUEST_TIMEOUT_S: Final = 120.0


def choose_workers(present: dict[str, Any], wanted: list[str] | None) -> list[str]:
    """Return addresses of workers, each as often as it has threads.

    ``present`` is ``workers`` of the scheduler's identity; ``wanted`` names workers by address,
    host or name. Raises NoWorkersError if none is left.
    """
    turns: list[list[str]] = []
    for address, about in present.items():
        names = {address, address.rpartition(":")[0], about.get("host"), about.get("name")}
        if wanted is None or names & set(wanted):
            turns.append([address] * max(int(about.get("nthreads", 1)), 1))
    if not turns:
        what = "scattered data" if wanted is None else f"data scattered to {', '.join(wanted)}"
        raise NoWorkersError(what, sorted(present))
    # One each before anyone gets a second.
    rounds = itertools.zip_longest(*turns)
    return [address for one in rounds for address in one if address is not None]


def _shares(payloads: dict[str, Payload], workers: list[str], broadcast: bool) -> list[tuple[str, dict[str, Payload]]]:
    """Divide the data in requests of bounded size to single workers."""
    by_worker: dict[str, list[str]] = defaultdict(list)
    turn = itertools.cycle(workers)
    for key in payloads:
        for worker in dict.fromkeys(workers) if broadcast else [next(turn)]:
            by_worker[worker].append(key)
    shares = []
    for worker, keys in by_worker.items():
        share: dict[str, Payload] = {}
        size = 0
        for key in keys:
            share[key] = payloads[key]
            size += payload_nbytes(payloads[key])
            if size >= _BYTES_PER_REQUEST:
                shares.append((worker, share))
                share, size = {}, 0
        if share:
            shares.append((worker, share))
    return shares


async def scatter(
    session: Session,
    payloads: dict[str, Payload],
    *,
    types: dict[str, str],
    workers: list[str] | None,
    broadcast: bool,
    timeout_s: float,
) -> dict[str, KeyState]:
    """Put data on workers and return one acquired state per key.

    ``types`` are names for the futures.  Raises NoWorkersError if there is no (suitable) worker
    within ``timeout_s`` seconds, CommError if the scheduler is gone.
    """
    states: dict[str, KeyState] = {}
    if workers is None and not broadcast:  # wherever they are already is as good a place as any
        states.update(_held_already(session, payloads))
    missing = {key: payload for key, payload in payloads.items() if key not in states}
    if missing:
        chosen = await _workers_for(session, workers, timeout_s)
        holders = await _upload(session, missing, chosen, broadcast)
        states.update(_announce(session, holders, types))
    return states


def _held_already(session: Session, keys: Iterable[str]) -> dict[str, KeyState]:
    states = {}
    with session.lock:
        for key in keys:
            known = session.table.states.get(key)
            if known is not None and known.status == "finished":
                states[key] = session.table.acquire(key)[0]
    return states


async def _workers_for(session: Session, wanted: list[str] | None, timeout_s: float) -> list[str]:
    about = await session.request("identity", patience_s=timeout_s)
    if not about["workers"]:
        try:
            await session.request("wait_for_workers", n=1, timeout_s=timeout_s)
        except RequestTimeoutError as error:
            raise NoWorkersError("scattered data", [], timeout_s) from error
        about = await session.request("identity", patience_s=timeout_s)
    return choose_workers(about["workers"], wanted)


async def _upload(
    session: Session, payloads: dict[str, Payload], workers: list[str], broadcast: bool
) -> dict[str, tuple[int, list[str]]]:
    """Send all shares; return key -> (bytes, holders)."""
    slots = asyncio.Semaphore(_REQUESTS_AT_ONCE)
    holders: dict[str, tuple[int, list[str]]] = {}

    offers = Offers(session)

    async def send(worker: str, share: dict[str, Payload]) -> None:
        async with slots:
            sizes = await _send_one(session, worker, share, offers)
        for key, nbytes in sizes.items():
            holders.setdefault(key, (nbytes, []))[1].append(worker)

    tasks = [send(worker, share) for worker, share in _shares(payloads, workers, broadcast)]
    await asyncio.gather(*tasks)
    return holders


async def _send_one(session: Session, worker: str, share: dict[str, Payload], offers: Offers) -> dict[str, int]:
    try:
        answer = await offers.send(worker, share, _REQUEST_TIMEOUT_S)
    except (CommError, RequestTimeoutError) as error:
        logger.debug("cannot reach %s directly (%s): the scheduler relays", worker, error)
        relayed = await session.pool.request(
            session.scheduler_address,
            "scatter",
            timeout_s=_REQUEST_TIMEOUT_S,
            data=share,
            client=session.id,
            workers=[worker],
            broadcast=False,
        )
        return {key: payload_nbytes(share[key]) for key in relayed}
    return {key: int(nbytes) for key, nbytes in answer["nbytes"].items()}


def _announce(
    session: Session, holders: dict[str, tuple[int, list[str]]], types: dict[str, str]
) -> dict[str, KeyState]:
    states = {}
    with session.lock:
        for key, (nbytes, workers) in holders.items():
            states[key] = session.table.acquire(key)[0]
            session.table.finish(key, Remote(workers, nbytes), types.get(key, ""))
    session.post(DataScattered(holders))
    return states
