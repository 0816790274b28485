"""Objects of the user's to payloads and back: with ``failure.py``, the only place that pickles and unpickles.

See :mod:`distributed.messages` for the form of a payload.  Loading runs code of whoever made the payload: it happens
only in workers and clients, and only with data from peers that proved to belong to the cluster.
"""

from __future__ import annotations

import io
import itertools
import pickle
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from operator import itemgetter
from types import CodeType, MappingProxyType
from typing import Any

import cloudpickle
import msgspec

from distributed.errors import RemoteProtocolError
from distributed.payloads import Buffer, Payload

__all__ = [
    "dumps",
    "dumps_call",
    "dumps_plain_calls",
    "goes_by_value",
    "loads",
    "loads_call",
    "loads_plain",
    "names_what_goes_by_value",
    "payload_nbytes",
    "sizeof",
]

OUT_OF_BAND = 65536
"""Bytes from which a part of a payload travels as a frame of its own."""

_SHORT_PROTOCOL = 3
"""For calls of plain values, which need nothing of later ones: without frames a small call is a third shorter."""
_PICKLE = 0x80
"""The first byte of a pickle. Of msgpack it would be an empty map, and no value of ours is one."""
_FIRST_BYTE = itemgetter(0)
_UNKNOWN_SIZE = 64
_SAMPLE = 10
_NO_FILE = "<dynamic-code>"
_ATOMS = frozenset({int, float, str, bytes, bool, type(None)})
_SIZED = frozenset({str, bytes})
_NO_KEYS: list[str] = []
_NOTHING: dict[str, Any] = {}
_last_names = _NO_KEYS

# Plain values go as msgpack, at a fifth of the price of a pickle, both ways.
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_decode_array = msgspec.msgpack.Decoder(list[Any]).decode
_ARRAY = b"\xdd"
"""What begins an array in msgpack; its length comes next, as 32 bits."""
_INEXPRESSIBLE = (OverflowError, UnicodeError)
"""Why msgpack cannot take a plain value: an integer of more than 64 bits, half a character."""

_Spot = int | tuple[int, int]

_references: ContextVar[Mapping[str, Any]] = ContextVar("references", default=MappingProxyType({}))
"""The values that references stand for in the payload that this thread is loading."""


def _resolve(key: str) -> Any:
    """What a reference inside a call becomes when it is loaded: the value of ``key``."""
    return _references.get()[key]


class _BufferCollector:
    """Takes large contiguous buffers out of a pickle (protocol 5), leaves small ones inside."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []

    def __call__(self, buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < OUT_OF_BAND:
            return True
        self.buffers.append(Buffer(raw))
        return False


class _CallPickler(pickle.Pickler):
    """Plain pickle that turns futures into references and notes their keys."""

    keys: dict[str, None]

    def reducer_override(self, obj: Any) -> Any:
        if getattr(type(obj), "__dlaunch_key__", False):
            self.keys[obj.key] = None
            return _resolve, (obj.key,)
        return NotImplemented


def _with_filename(code: CodeType, filename: str) -> CodeType:
    """What a code object inside a payload becomes when it is loaded."""
    return code.replace(co_filename=filename)


class _CloudPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle for what only it can handle: lambdas, functions and classes of ``__main__``.

    It keeps the name of the file that a function comes from, which cloudpickle 3.1.3 leaves out: a remote traceback
    shows the lines of that file.
    """

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is CodeType and obj.co_filename != _NO_FILE:
            return _with_filename, (obj.replace(co_filename=_NO_FILE), obj.co_filename)
        return super().reducer_override(obj)


class _CloudCallPickler(_CloudPickler):
    """The same, turning futures into references."""

    keys: dict[str, None]

    def reducer_override(self, obj: Any) -> Any:
        if getattr(type(obj), "__dlaunch_key__", False):
            self.keys[obj.key] = None
            return _resolve, (obj.key,)
        return super().reducer_override(obj)


def _assemble(data: bytes, buffers: list[Buffer]) -> Payload:
    if not buffers and len(data) < OUT_OF_BAND:
        return data
    return [Buffer(data) if len(data) >= OUT_OF_BAND else data, *buffers]


def _pickle(pickler_type: type[Any], obj: Any, keys: dict[str, None]) -> Payload:
    file = io.BytesIO()
    collector = _BufferCollector()
    pickler = pickler_type(file, protocol=5, buffer_callback=collector)
    pickler.keys = keys
    pickler.dump(obj)
    return _assemble(file.getvalue(), collector.buffers)


def goes_by_value(module: str) -> bool:
    """Whether functions and classes of the module travel as what they are: their name means nothing elsewhere.

    So it is with ``__main__``, and where the user has told ``cloudpickle.register_pickle_by_value``.
    """
    if module == "__main__":
        return True
    registered = cloudpickle.list_registry_pickle_by_value()
    return any(module == name or module.startswith(f"{name}.") for name in registered)


def names_what_goes_by_value(data: bytes) -> bool:
    """Whether a pickle may name a function or a class of such a module."""
    if b"__main__" in data:
        return True
    registered = cloudpickle.list_registry_pickle_by_value()
    return any(name.encode() in data for name in registered)


def _dump(obj: Any) -> tuple[Payload, dict[str, None]]:
    keys: dict[str, None] = {}
    try:
        payload = _pickle(_CallPickler, obj, keys)
        head = payload if isinstance(payload, bytes) else payload[0]
        if not names_what_goes_by_value(bytes(head.data) if isinstance(head, Buffer) else head):
            return payload, keys
    except Exception as error:
        # The pickler gives up with many kinds of exception; cloudpickle knows more types.
        if isinstance(error, RecursionError | MemoryError):
            raise
    keys.clear()
    return _pickle(_CloudCallPickler, obj, keys), keys


def dumps(obj: Any) -> Payload:
    """Return ``obj`` as a payload: a plain value as msgpack, else pickle, or cloudpickle where pickle cannot.

    Raises whatever the object's own pickling raises, usually TypeError or ``pickle.PicklingError``.
    """
    if type(obj) in _ATOMS and (type(obj) not in _SIZED or len(obj) < OUT_OF_BAND // 4):
        try:
            return _encode(obj)
        except _INEXPRESSIBLE:
            return pickle.dumps(obj, 5)
    collector = _BufferCollector()
    try:
        data = pickle.dumps(obj, 5, buffer_callback=collector)
        if not names_what_goes_by_value(data):
            return _assemble(data, collector.buffers)
    except Exception as error:
        if isinstance(error, RecursionError | MemoryError):
            raise
    file, collector = io.BytesIO(), _BufferCollector()
    _CloudPickler(file, protocol=5, buffer_callback=collector).dump(obj)
    return _assemble(file.getvalue(), collector.buffers)


def loads(payload: Payload) -> Any:
    """Return the object in a payload.  Raises whatever its unpickling raises."""
    if isinstance(payload, bytes):
        return _decode(payload) if payload and payload[0] != _PICKLE else pickle.loads(payload)
    parts = [part.data if isinstance(part, Buffer) else part for part in payload]
    if not parts:
        raise RemoteProtocolError("an empty list is no payload")
    head, *buffers = parts
    return pickle.loads(head, buffers=buffers) if buffers or not head or head[0] == _PICKLE else _decode(head)


def loads_plain(payloads: Sequence[Payload | None]) -> list[Any] | None:
    """Return the objects in payloads of plain values, together, at a fifth of the price of each by itself.

    None if some are something else, or are not valid: :func:`loads` says what is wrong.
    """
    plain = [payload for payload in payloads if isinstance(payload, bytes)]
    try:
        if len(plain) < len(payloads) or _PICKLE in set(map(_FIRST_BYTE, plain)):
            return None
        array = b"".join([_ARRAY, len(plain).to_bytes(4, "big"), *plain])
        return _decode_array(array)
    except (IndexError, msgspec.DecodeError):  # one is empty, or no value
        return None


def dumps_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Payload, list[str]]:
    """Return ``(args, kwargs)`` as a payload, and the keys of the futures found in them at any depth, in order.

    A future is an object whose class has ``__dlaunch_key__ = True`` and which has a ``key``.

    Most calls are of plain values, futures and lists of either, and those go without a pickler of ours: the payload is
    then of ``(args,)``; of ``(args, kwargs, first, number)`` if so many values of keys belong into ``args`` in a row,
    from ``first`` on; or of ``(args, kwargs, spots)``, where they belong into ``args``, in their order: a spot is a
    position, or ``(position, number)`` for a list of so many.
    """
    if not kwargs or _ATOMS.issuperset(map(type, kwargs.values())):
        if _ATOMS.issuperset(map(type, args)):
            return _dumps_plain((args, kwargs) if kwargs else (args,)), _NO_KEYS
        quick = _dumps_without_futures(args, kwargs)
        if quick is not None:
            return quick
    payload, keys = _dump((args, kwargs))
    return payload, list(keys)


def dumps_plain_calls(calls: Sequence[tuple[Any, ...]]) -> list[bytes] | None:
    """Return the payload of each call, as :func:`dumps_call` does, if they are small and of plain values only."""
    kinds = set(map(type, itertools.chain.from_iterable(calls)))
    if not kinds <= _ATOMS:
        return None
    if kinds & _SIZED and any(type(arg) in _SIZED and len(arg) >= OUT_OF_BAND for args in calls for arg in args):
        return None  # before they are encoded for nothing
    try:
        payloads = [_encode((args,)) for args in calls]
    except _INEXPRESSIBLE:
        return None
    return payloads if max(map(len, payloads), default=0) < OUT_OF_BAND else None


def _dumps_without_futures(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Payload, list[str]] | None:
    """Return a call whose futures are told by their places in it; None if that is not possible."""
    spots = _plain_spots(args)
    if spots is None:
        return None
    if type(spots) is range:
        names = _different([arg.key for arg in args[spots.start : spots.stop]])
        if names is None:
            return None
        rest = args[: spots.start] + args[spots.stop :]
        return _dumps_plain((rest, kwargs, spots.start, len(names))), names
    names = _different(_names_at(args, spots))
    if names is None:
        return None
    others = list(args)
    for spot in spots:
        others[spot if isinstance(spot, int) else spot[0]] = None
    # Pickled, because a list may be two of the arguments, and is one there, too.
    return _dumps_short((others, kwargs, spots) if spots else (others, kwargs)), names


def _dumps_plain(call: tuple[Any, ...]) -> Payload:
    try:
        return _assemble(_encode(call), [])
    except _INEXPRESSIBLE:
        return _dumps_short(call)


def _dumps_short(call: tuple[Any, ...]) -> Payload:
    return _assemble(pickle.dumps(call, _SHORT_PROTOCOL), [])


def _different(names: list[str]) -> list[str] | None:
    """Return the names if none is twice among them, else None.

    Many calls in a row have the same inputs: those are looked at once, and share one list.
    """
    global _last_names
    last = _last_names  # once: other threads make calls, too
    if names == last:
        return last
    if len(names) > 1:
        if len(set(names)) < len(names):
            return None
        _last_names = names
    return names


def _plain_spots(args: tuple[Any, ...]) -> Sequence[_Spot] | None:
    """Return where the futures are if all else are plain values and lists of them, None if not.

    A range if they are in a row.
    """
    # A look at each type, not at each argument: a call may have hundreds.
    kinds = set(map(type, args))
    futures = kinds - _ATOMS
    lists = list in futures
    futures.discard(list)
    if not all(map(_is_future, futures)):
        return None
    if len(futures) == len(kinds):
        return range(len(args))
    if not lists:
        spots = [spot for spot, arg in enumerate(args) if type(arg) in futures]
        first, end = spots[0], spots[-1] + 1
        return range(first, end) if end - first == len(spots) else spots
    spots_and_lists: list[_Spot] = []
    for spot, arg in enumerate(args):
        if type(arg) is list:
            inner = set(map(type, arg))
            if inner and all(map(_is_future, inner)):
                spots_and_lists.append((spot, len(arg)))
            elif not inner <= _ATOMS:
                return None
        elif type(arg) in futures:
            spots_and_lists.append(spot)
    return spots_and_lists


def _is_future(kind: type[Any]) -> bool:
    return getattr(kind, "__dlaunch_key__", False)


def _names_at(args: tuple[Any, ...], spots: Sequence[_Spot]) -> list[str]:
    names: list[str] = []
    for spot in spots:
        if isinstance(spot, int):
            names.append(args[spot].key)
        else:
            names += [future.key for future in args[spot[0]]]
    return names


def loads_call(payload: Payload, data: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return ``(args, kwargs)`` of a call, with ``data[key]`` in the place of every reference.

    ``data`` has the keys that :func:`dumps_call` returned, in their order.  Raises KeyError for a reference that is
    not in ``data``, else whatever unpickling raises.
    """
    if data:
        token = _references.set(data)
        try:
            call = loads(payload)
        finally:
            _references.reset(token)
    elif type(payload) is bytes and payload and payload[0] != _PICKLE:
        call = _decode(payload)  # most calls are this, without a call of Python for it
    else:
        call = loads(payload)
    if len(call) == 1:
        return tuple(call[0]), _NOTHING
    args, kwargs, *where = call
    if not where:
        return tuple(args), kwargs
    if len(where) > 1:
        first, number = where
        _check_number(number, data)
        return (*args[:first], *data.values(), *args[first:]), kwargs
    [spots] = where
    _check_number(sum([1 if isinstance(spot, int) else spot[1] for spot in spots]), data)
    values = iter(data.values())
    for spot in spots:
        if isinstance(spot, int):
            args[spot] = next(values)
        else:
            args[spot[0]] = list(itertools.islice(values, spot[1]))
    return tuple(args), kwargs


def _check_number(wanted: int, data: Mapping[str, Any]) -> None:
    if wanted != len(data):
        raise KeyError(f"inputs are gone: of {wanted} there are {len(data)}")


def payload_nbytes(payload: Payload) -> int:
    """Return the size of a payload in bytes."""
    return len(payload) if isinstance(payload, bytes) else sum(len(part) for part in payload)


def sizeof(obj: Any, depth: int = 3) -> int:
    """Return a quick estimate of the memory of ``obj`` in bytes.

    Exact for arrays, sampled for containers.
    """
    try:
        return max(_measure(obj, depth), 1)
    except Exception:  # noqa: BLE001 - a user's __sizeof__ or nbytes may do anything
        return _UNKNOWN_SIZE


def _measure(obj: Any, depth: int) -> int:
    nbytes = getattr(obj, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes + _UNKNOWN_SIZE
    size = sys.getsizeof(obj, _UNKNOWN_SIZE)
    if depth and isinstance(obj, list | tuple | set | frozenset | dict) and obj:
        values = obj.values() if isinstance(obj, dict) else obj
        sample = list(itertools.islice(values, _SAMPLE))
        size += sum(sizeof(value, depth - 1) for value in sample) * len(obj) // len(sample)
    return size
