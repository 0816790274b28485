"""Names of tasks: ``function-token``, where equal calls of a pure function have equal tokens."""

from __future__ import annotations

import base64
import functools
import itertools
import secrets
import sys
import types
import weakref
from collections.abc import Callable
from hashlib import blake2b
from itertools import islice
from typing import Any, NamedTuple

from distributed.client.snapshots import detached
from distributed.payloads import Buffer, Payload
from distributed.wire.payload import dumps

__all__ = ["Function", "FunctionRegistry", "TokenSource", "name_of", "token_of", "unwrap"]

_ID_BYTES = 12
_TOKEN_BYTES = 16
_LONGEST_NAME = 60


class Function(NamedTuple):
    """A function ready to travel: its ``id``, a short ``name`` for keys, and its ``payload``."""

    id: str
    name: str
    payload: Payload


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


def _parts(payload: Payload) -> list[Any]:
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
    for part in _parts(payload):
        digest.update(part)
    return digest.hexdigest()


class TokenSource:
    """Tokens that no other call has, for functions that are not pure."""

    def __init__(self) -> None:
        # 60 bits of chance: nobody else's among a million clients, and short, because each key is kept in three places.
        self._prefix = base64.b32encode(secrets.token_bytes(8)).decode().lower()[:12]
        self._count = itertools.count()

    def next(self) -> str:
        """Return a token that was never returned before, here or in another process."""
        return f"{self._prefix}{next(self._count):08x}"

    def many(self, front: str, number: int) -> list[str]:
        """Return so many keys that begin with ``front``, each with a token as of :meth:`next`."""
        front += self._prefix
        return [f"{front}{count:08x}" for count in islice(self._count, number)]


def _is_stable(function: Callable[..., Any]) -> bool:
    """Whether the pickle of ``function`` is its name in a module, and so never changes."""
    if not isinstance(function, types.FunctionType | types.BuiltinFunctionType | type):
        return False
    module = getattr(function, "__module__", None)
    if module is None or module == "__main__" or "." in function.__qualname__:
        return False
    return getattr(sys.modules.get(module), function.__qualname__, None) is function


class FunctionRegistry:
    """Pickles functions, those of modules only once.

    A lambda, a closure or a function of ``__main__`` travels with the state that it has now, so it
    is pickled at each call of :meth:`pack`: use one :class:`Function` for many tasks.
    """

    def __init__(self) -> None:
        self._stable: weakref.WeakKeyDictionary[Any, Function] = weakref.WeakKeyDictionary()

    def pack(self, function: Callable[..., Any]) -> Function:
        """Return the function ready to travel.

        Raises TypeError if it is not callable, and whatever its pickling raises.
        """
        if not callable(function):
            raise TypeError(f"a task needs a function to call, not {type(function).__name__}: submit(function, *args)")
        stable = _is_stable(function)
        if stable and (found := self._stable.get(function)) is not None:
            return found
        payload = detached(dumps(function))
        digest = blake2b(digest_size=_ID_BYTES)
        for part in _parts(payload):
            digest.update(part)
        packed = Function(digest.hexdigest(), name_of(function), payload)
        if stable:
            self._stable[function] = packed
        return packed
