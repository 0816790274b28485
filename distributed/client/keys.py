"""Names of tasks: ``function-token``, where equal calls of a pure function have equal tokens."""

from __future__ import annotations

import base64
import functools
import secrets
import threading
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from distributed.payloads import Buffer, Payload

__all__ = ["TokenSource", "name_of", "parts_of", "token_of", "unwrap"]

_TOKEN_BYTES = 16
_LONGEST_NAME = 60
_TAILS = [f"{number:02x}" for number in range(256)]


def name_of(function: Callable[..., Any]) -> str:
    """Return a short readable name of a callable, fit for the front of a key."""
    name = getattr(function, "__name__", None) or type(function).__name__
    return str(name).strip("<>")[:_LONGEST_NAME] or "task"


def unwrap(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Turn a call of a ``functools.partial`` into a call of what it wraps.

    So the function travels once for all partials of it, and futures among their arguments are
    found.
    """
    while type(function) is functools.partial:
        args, kwargs = (*function.args, *args), {**function.keywords, **kwargs}
        function = function.func
    return function, args, kwargs


def parts_of(payload: Payload) -> list[Any]:
    """Return the bytes and buffers of a payload."""
    if isinstance(payload, bytes):
        return [payload]
    return [part.data if isinstance(part, Buffer) else part for part in payload]


def token_of(start: bytes, payload: Payload, dependencies: list[str] | None = None) -> str:
    """Return a digest of ``start``, a payload's content and its dependencies, as 32 hexadecimal digits."""
    if dependencies:
        start = b"\0".join([start, *map(str.encode, dependencies), b""])
    if type(payload) is bytes:
        return blake2b(start + payload, digest_size=_TOKEN_BYTES).hexdigest()
    digest = blake2b(start, digest_size=_TOKEN_BYTES)
    for part in parts_of(payload):
        digest.update(part)
    return digest.hexdigest()


class TokenSource:
    """Tokens that no other call has, for functions that are not pure."""

    def __init__(self) -> None:
        # 60 bits of chance: nobody else's among a million clients, and short, because each key is kept in three places.
        self._prefix = base64.b32encode(secrets.token_bytes(8)).decode().lower()[:12]
        self._lock = threading.Lock()
        self._number = 0

    def next(self) -> str:
        """Return a token that was never returned before, here or in another process."""
        return self.many("", 1)[0]

    def many(self, front: str, number: int) -> list[str]:
        """Return so many keys that begin with ``front``, each with a token as of :meth:`next`."""
        front += self._prefix
        keys: list[str] = []
        with self._lock:
            start = self._number
            self._number = end = start + number
        while start < end:
            # Digits that stay the same are made once: a tenth of what it costs to submit a task.
            head, first = f"{front}{start >> 8:06x}", start & 255
            keys += [head + tail for tail in _TAILS[first : first + end - start]]
            start += 256 - first
        return keys
