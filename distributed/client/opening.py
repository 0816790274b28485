"""From what the user says to a registered session: which scheduler, with which secret, is it
one.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from distributed.client.session import Session
from distributed.clusterfile import ClusterFile, path_of, resolve, running_files
from distributed.comm import Connection, connect
from distributed.daemon import Daemon
from distributed.errors import CommError, ConfigError, RequestTimeoutError
from distributed.messages import Message, Reply, Request
from distributed.network import parse_address
from distributed.wire.failure import load_error

__all__ = ["Target", "named_target", "open_session", "running_targets"]

_PROBE_TIMEOUT_S = 2.0


class Target(NamedTuple):
    """A scheduler to connect to: candidate addresses ``"host:port"``, the secret, and a name for
    messages.
    """

    addresses: list[str]
    secret: bytes
    name: str = ""


def _checked(address: str) -> str:
    try:
        parse_address(address)
    except ConfigError as error:
        raise CommError(f"cannot connect to {address!r}: {error}", address=address) from error
    return address


def _cluster_called(name: str) -> bool:
    """Whether a string without a port is the name of a cluster of this user."""
    try:
        return ":" not in name and path_of(name).exists()
    except ConfigError:
        return False


def named_target(
    address: object = None,
    cluster: str | None = None,
    cluster_file: str | Path | None = None,
    secret: bytes | None = None,
) -> Target | None:
    """Return the scheduler that the arguments or the environment name, None if they name none.

    ``address``: ``"host:port"``, ``(host, port)``, the name of a cluster, a Scheduler, or an object
    with ``cluster_file`` or ``scheduler_address`` (a launcher's cluster).  Raises CommError for
    what is no address, ConfigError for a cluster that does not exist, TypeError for any other
    object.
    """
    if isinstance(address, Daemon):
        return Target([address.address], secret or address._secret)
    if address is not None and not isinstance(address, str | tuple):
        return _target_of_object(address, secret)
    if isinstance(address, tuple):
        address = f"{address[0]}:{address[1]}"
    if isinstance(address, str):
        if not cluster and _cluster_called(address):
            cluster, address = address, None
        else:
            _checked(address)
            if secret is not None:
                return Target([address], secret)
    addresses, found = resolve(address, cluster, cluster_file)
    if not addresses:
        return None
    return Target(addresses, secret or found, cluster or "")


def _target_of_object(owner: Any, secret: bytes | None) -> Target:
    if path := getattr(owner, "cluster_file", None):
        found = ClusterFile.read(Path(path))
        return Target(found.addresses, secret or found.secret_bytes, found.name)
    if isinstance(address := getattr(owner, "scheduler_address", None), str):
        return Target([_checked(address)], secret or resolve(address)[1])
    raise TypeError(
        f"an address is 'host:port', (host, port), a Scheduler or a running cluster, not {type(owner).__name__}"
    )


async def running_targets() -> list[Target]:
    """Return this user's clusters whose scheduler answers, by their files."""
    targets = []
    for path in running_files():
        try:
            found = ClusterFile.read(path)
        except ConfigError:
            continue  # half written, of another version, or not private: not one of ours to use
        targets.append(Target(found.addresses, found.secret_bytes, found.name))
    alive = await asyncio.gather(*map(_is_alive, targets))
    return [target for target, answers in zip(targets, alive, strict=True) if answers]


async def _is_alive(target: Target) -> bool:
    try:
        connection = await _connect_any(target, _PROBE_TIMEOUT_S)
    except (CommError, ConfigError):
        return False
    connection.abort()
    return True


async def _connect_any(target: Target, timeout_s: float) -> Connection:
    """Connect to whichever candidate answers first."""
    tries = [
        asyncio.ensure_future(connect(address, secret=target.secret, timeout_s=timeout_s))
        for address in target.addresses
    ]
    waiting = set(tries)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for won in done:
                if won.exception() is None:
                    tries.remove(won)
                    return won.result()
    finally:
        for lost in tries:
            lost.cancel()
            lost.add_done_callback(_discard)
    errors = [error for failed in tries if (error := failed.exception()) is not None]
    if len(errors) == 1:
        raise errors[0]
    if not errors:
        raise CommError("cannot connect: the cluster file names no address of a scheduler")
    raise CommError("; ".join(map(str, errors)), address=target.addresses[0]) from errors[0]


def _discard(lost: asyncio.Future[Connection]) -> None:
    if not lost.cancelled() and lost.exception() is None:
        lost.result().abort()


def _client_id(name: str | None) -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry for this uid
        user = str(os.getuid())
    return f"{name or f'Client-{user}-{os.getpid()}'}-{uuid.uuid4().hex[:12]}"


async def open_session(
    target: Target, *, timeout_s: float, name: str | None = None, shared_memory: str | None = None
) -> Session:
    """Connect to the scheduler, register, and return the session on the running loop.

    Raises CommError if it cannot be reached (the text contains "connect" and the address),
    AuthenticationError if the secrets differ, and ValueError if the daemon there is no scheduler.
    """
    connection = await _connect_any(target, timeout_s)
    address = connection.peer_address
    client_id = _client_id(name)
    try:
        scheduler_id, early = await asyncio.wait_for(_register(connection, client_id), timeout_s)
    except asyncio.TimeoutError as error:
        connection.abort()
        raise RequestTimeoutError(f"cannot connect to {address}: it did not answer within {timeout_s:g} s") from error
    except BaseException:
        connection.abort()
        raise
    return Session(
        connection,
        client_id,
        address=address,
        scheduler_id=scheduler_id,
        secret=target.secret,
        early=early,
        shared_memory=shared_memory,
    )


async def _register(connection: Connection, client_id: str) -> tuple[str, list[Message]]:
    """Return the scheduler's id, and the messages that came with its answer."""
    connection.send(Request("register_client", {"client": client_id}, 1))
    batch = await connection.read()
    reply = batch[0]
    if isinstance(reply, Reply) and reply.error is None:
        return str(reply.result["id"]), batch[1:]
    address = connection.peer_address
    if not isinstance(reply, Reply) or reply.error is None:
        raise CommError(f"cannot connect to {address}: it speaks another language", address=address)
    if reply.error.type_name == "TypeError":
        kind = await _kind_of(connection)
        if kind != "Scheduler":
            raise ValueError(f"cannot connect to {address}: it is a {kind}, not a scheduler")
    raise load_error(reply.error)


async def _kind_of(connection: Connection) -> str:
    try:
        connection.send(Request("identity", {}, 2))
        reply = (await connection.read())[0]
    except CommError:
        return "Scheduler"  # it left rather than answer: say what it said first
    if not isinstance(reply, Reply) or not isinstance(reply.result, dict):
        return "stranger"
    return str(reply.result["type"])
