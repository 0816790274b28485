"""Functions ready to travel, pickled as seldom as can be."""

from __future__ import annotations

import operator
import sys
import weakref
from collections.abc import Callable, Iterator
from hashlib import blake2b
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from distributed.client.keys import name_of, parts_of
from distributed.client.snapshots import detached
from distributed.payloads import Payload
from distributed.wire.payload import dumps, goes_by_value

__all__ = ["Function", "FunctionRegistry"]

_ID_BYTES = 12
_ATOMS: Final = (int, float, complex, str, bytes, bool, type(None))


class Function(NamedTuple):
    """A function ready to travel: its ``id``, a short ``name`` for keys, and its ``payload``."""

    id: str
    name: str
    payload: Payload


def _is_named(thing: Any) -> bool:
    """Whether a module, function or class is pickled as its name, and so never changes."""
    if not isinstance(thing, (FunctionType, BuiltinFunctionType, type)):
        return isinstance(thing, ModuleType) and sys.modules.get(thing.__name__) is thing
    module = getattr(thing, "__module__", None)
    if module is None or "." in thing.__qualname__ or goes_by_value(module):
        return False
    return getattr(sys.modules.get(module), thing.__qualname__, None) is thing


def _names_in(code: CodeType) -> Iterator[str]:
    """Yield what may be names of globals in a function and those inside it, and more than that."""
    yield from code.co_names
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from _names_in(constant)


def _add_state(function: FunctionType, state: list[Any], seen: dict[int, int]) -> bool:
    """Add all that the pickle of a function by its content is made of; return False if that may change unseen.

    Code and values, never the functions themselves: those that call each other would keep themselves alive. ``seen``
    has a number for each function, by identity: most of them call themselves or the same others.
    """
    if function.__closure__ is not None or function.__kwdefaults__ or function.__dict__:
        return False
    defaults = function.__defaults__ or ()
    if not all(type(value) in _ATOMS for value in defaults):
        return False
    seen[id(function)] = len(seen)
    state += (function.__code__, function.__name__, function.__doc__, *defaults)
    known = function.__globals__
    for name in _names_in(function.__code__):
        if name not in known:
            continue
        value = known[name]
        state.append(name)
        if type(value) in _ATOMS or _is_named(value):
            state.append(value)
        elif type(value) is not FunctionType:
            return False
        elif id(value) in seen:
            state.append(seen[id(value)])
        elif not _add_state(value, state, seen):
            return False
    return True


def _state_of(function: Any) -> list[Any] | None:
    """Return a list that is the same, part by part, for as long as the pickle of a function is; None if none is."""
    state: list[Any] = []
    if _is_named(function) or (type(function) is FunctionType and _add_state(function, state, {})):
        return state
    return None


class FunctionRegistry:
    """Pickles functions, and those of modules only once.

    A lambda or a function of ``__main__`` travels with the state that it has now: the globals that it uses, its
    defaults, what it encloses. It is pickled again when that has changed, and at each call of :meth:`pack` if it may
    have changed unseen, because it holds a closure or uses a list: use one :class:`Function` for many tasks.
    """

    def __init__(self) -> None:
        self._packed: weakref.WeakKeyDictionary[Any, tuple[Function, list[Any]]] = weakref.WeakKeyDictionary()

    def pack(self, function: Callable[..., Any]) -> Function:
        """Return the function ready to travel.

        Raises TypeError if it is not callable, and whatever its pickling raises.
        """
        if not callable(function):
            raise TypeError(f"a task needs a function to call, not {type(function).__name__}: submit(function, *args)")
        state = _state_of(function)
        if state is None:
            return _pack(function)
        found = self._packed.get(function)
        if found is not None and len(found[1]) == len(state) and all(map(operator.is_, found[1], state)):
            return found[0]
        packed = _pack(function)
        self._packed[function] = packed, state
        return packed


def _pack(function: Callable[..., Any]) -> Function:
    payload = detached(dumps(function))
    digest = blake2b(digest_size=_ID_BYTES)
    for part in parts_of(payload):
        digest.update(part)
    return Function(digest.hexdigest(), name_of(function), payload)
