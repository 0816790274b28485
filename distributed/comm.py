"""Meeting peers: connecting, accepting, and the mutual proof before a connection is used."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import getpass
import ipaddress
import os
import secrets
import socket
from typing import Any, Final

from distributed.connection import Connection, socket_address
from distributed.errors import AuthenticationError, CommError, ConfigError, ConnectionLostError
from distributed.network import parse_address
from distributed.wire import handshake
from distributed.wire.frames import Limits

__all__ = ["Connection", "accept", "connect"]

HANDSHAKE_TIMEOUT_S: Final = 10.0
OUTBOX_LIMIT: Final = 2**30
"""Bytes of messages that may wait for one peer of a listener before it is dropped."""
_DECLINE_S: Final = 1.0

# A host that vanished without a word (power, cable) is noticed within five minutes: as long may a
# peer be suspended, or hold its interpreter's lock, with its buffers full.  While nothing is sent
# it would be one, but Linux lets the user timeout decide then too.
_KEEPALIVE = {
    "TCP_KEEPIDLE": 20,
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 4,
    "TCP_USER_TIMEOUT": 300_000,
}


def _tune(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


# -- the side that listens ---------------------------------------------------------------------------


async def accept(sock: socket.socket, secret: bytes, limits: Limits | None = None) -> Connection:
    """Return the connection of a peer that has proved to hold ``secret``.

    ``sock`` does not block.  Raises AuthenticationError (its text fit for one log line) if the peer has not,
    ConnectionLostError if it left, and closes the socket in both cases.  Nothing but fixed-size records is read
    before the proof.
    """
    address = socket_address(sock, peer=True)
    try:
        who = await asyncio.wait_for(_listen(sock, secret, address), HANDSHAKE_TIMEOUT_S)
    except _HungUpError as error:
        sock.close()
        raise ConnectionLostError(f"{address} left before it proved who it is", address=address) from error
    except asyncio.TimeoutError as error:
        sock.close()
        raise AuthenticationError(
            f"refused {address}: it did not prove who it is within {HANDSHAKE_TIMEOUT_S:g} s",
            address=address,
        ) from error
    except BaseException:
        sock.close()
        raise
    _tune(sock)
    return Connection(sock, f"{who} ({address})", limits, OUTBOX_LIMIT)


async def _listen(sock: socket.socket, secret: bytes, address: str) -> str:
    start = await _hear(sock, handshake.PREFIX_SIZE)
    try:
        handshake.check_prefix(start)
    except AuthenticationError as error:
        if start.startswith(handshake.MAGIC):
            await _decline(sock)
        raise AuthenticationError(f"refused {address}: {error}", address=address) from error
    hello = start + await _hear(sock, handshake.HELLO_SIZE - len(start))
    listener = handshake.Listener(secret, secrets.token_bytes(handshake.NONCE_SIZE), hello)
    await _say(sock, listener.challenge())
    if not listener.accepts(await _hear(sock, handshake.ANSWER_SIZE)):
        with contextlib.suppress(_HungUpError):
            await _say(sock, handshake.REFUSED)
        raise AuthenticationError(
            f"refused {listener.who} ({address}): it holds another cluster secret", address=address
        )
    await _say(sock, handshake.ACCEPTED)
    return listener.who


async def _decline(sock: socket.socket) -> None:
    """Tell a peer of another version what it met, and let it leave first: to close with bytes of
    its unread would reset the connection before it has read ours.
    """
    with contextlib.suppress(_HungUpError, asyncio.TimeoutError):
        await _say(sock, handshake.empty_challenge())
        for _ in range(16):
            await asyncio.wait_for(_hear(sock, 65536, partly=True), _DECLINE_S)


# -- words of the proof ------------------------------------------------------------------------------


class _HungUpError(OSError):
    """The peer left in the middle of it."""


async def _hear(sock: socket.socket, count: int, partly: bool = False) -> bytes:
    """Return so many bytes, ``partly``: as many as come.  No more are taken from the system."""
    heard = b""
    while len(heard) < count and not (partly and heard):
        try:
            part = await asyncio.get_running_loop().sock_recv(sock, count - len(heard))
        except OSError as error:
            raise _HungUpError(error.strerror or str(error)) from error
        if not part:
            raise _HungUpError("it hung up")
        heard += part
    return heard


async def _say(sock: socket.socket, data: bytes) -> None:
    try:
        await asyncio.get_running_loop().sock_sendall(sock, data)
    except OSError as error:
        raise _HungUpError(error.strerror or str(error)) from error


# -- the side that connects --------------------------------------------------------------------------


async def connect(
    address: str,
    *,
    secret: bytes,
    timeout_s: float = 10.0,
    role: str = "client",
    limits: Limits | None = None,
) -> Connection:
    """Connect to ``"host:port"`` and prove to each other that both hold ``secret``.

    Raises CommError if nobody answers within ``timeout_s`` seconds or something else listens
    there, and AuthenticationError if the two sides do not belong to the same cluster or do not
    speak the same version.  Every text contains "connect" and the address.
    """
    try:
        host, port = parse_address(address)
        sock = await asyncio.wait_for(_meet(host, port, secret, role), timeout_s)
    except AuthenticationError as error:
        raise AuthenticationError(f"cannot connect to {address}: {error}", address=address) from error
    except (ConfigError, OSError, ValueError, asyncio.TimeoutError) as error:
        reason = _reason(error, timeout_s)
        raise CommError(f"cannot connect to {address}: {reason}", address=address) from error
    _tune(sock)
    return Connection(sock, address, limits)


def _reason(error: Exception, timeout_s: float) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused, nothing listens there"
    if isinstance(error, socket.gaierror | UnicodeError):
        why = error.strerror if isinstance(error, socket.gaierror) else "it is not a host name"
        return f"the host name cannot be resolved ({why})"
    if isinstance(error, _HungUpError):
        return f"{error}; is something else listening there?"
    if isinstance(error, OSError) and error.strerror and error.errno:
        return os.strerror(error.errno) if error.errno > 0 else error.strerror
    if isinstance(error, asyncio.TimeoutError):
        return f"no answer within {timeout_s:g} s; is a firewall in between?"
    return str(error) or type(error).__name__


async def _meet(host: str, port: int, secret: bytes, role: str) -> socket.socket:
    sock = await _open(host, port)
    try:
        await _introduce(sock, secret, role)
    except BaseException:
        sock.close()
        raise
    return sock


async def _open(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    last = OSError("the host name has no address")
    for family, kind, proto, target in await _targets(host, port):
        sock = socket.socket(family, kind, proto)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, target)
            return sock
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
    raise last


async def _targets(host: str, port: int) -> list[tuple[Any, Any, int, Any]]:
    with contextlib.suppress(ValueError):
        # A number needs no resolver, and so no thread.
        version = ipaddress.ip_address(host).version
        if "%" not in host:
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            return [(family, socket.SOCK_STREAM, 0, (host, port))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, kind, proto, target) for family, kind, proto, _, target in found]


async def _introduce(sock: socket.socket, secret: bytes, role: str) -> None:
    nonce = secrets.token_bytes(handshake.NONCE_SIZE)
    connector = handshake.Connector(secret, nonce, _introduction(role))
    await _say(sock, connector.hello)
    start = await _hear(sock, handshake.PREFIX_SIZE)
    handshake.check_prefix(start)
    rest = await _hear(sock, handshake.CHALLENGE_SIZE - len(start))
    answer, believed = connector.answer(start + rest)
    await _say(sock, answer)
    verdict = await _hear(sock, len(handshake.ACCEPTED))
    if not believed or verdict != handshake.ACCEPTED:
        raise AuthenticationError(
            "it belongs to another cluster (the secrets differ); "
            "name the right one with --cluster NAME or --cluster-file FILE"
        )


def _introduction(role: str) -> str:
    return f"{role} {_user()}@{socket.gethostname()} pid {os.getpid()}"


@functools.cache
def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry for this uid
        return str(os.getuid())
