"""Exceptions on their way between processes: type, message, cause and remote traceback survive.

:func:`dump_error` never raises, whatever the exception looks like; :func:`load_error` always
returns something that can be raised.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator
from pathlib import PurePath
from types import TracebackType
from typing import Any, TypeAlias

import msgspec

from distributed import errors
from distributed.errors import DistributedError, RemoteError, TaskError
from distributed.messages import ErrorInfo
from distributed.wire.payload import dumps, loads, names_what_goes_by_value, payload_nbytes

__all__ = ["RemoteTraceback", "dump_error", "load_error"]

_LONGEST_TEXT = 20_000
_LARGEST_EXCEPTION = 2**20
_DEEPEST_CHAIN = 20
_FIRST_FRAMES, _LAST_FRAMES = 20, 60
_OURS = f"{PurePath(__file__).parent.parent}/"

_Reduced: TypeAlias = tuple[Any, tuple[Any, ...]]
"""A callable and its arguments that make the exception again."""


class RemoteTraceback(Exception):  # noqa: N818 - shown as the cause of another error, never raised
    """Carries the text of a remote traceback as the cause of the exception that it belongs to."""

    def __init__(self, text: str, worker: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.worker = worker

    def __str__(self) -> str:
        where = f" on worker {self.worker}" if self.worker else ""
        return f"\n\nRaised{where}:\n{self.text}"


# -- texts ---------------------------------------------------------------------------------------------


def _clean(text: str) -> str:
    """Shorten a long text, and make it one that can be sent: file names may hold odd bytes."""
    if len(text) > _LONGEST_TEXT:
        half = _LONGEST_TEXT // 2 - 50  # the result must not be too long itself
        left_out = len(text) - 2 * half
        text = f"{text[:half]}\n... {left_out} characters left out ...\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _message(error: BaseException) -> str:
    try:
        return _clean(str(error))
    except BaseException as broken:  # noqa: BLE001 - the user's __str__ may do anything
        return f"<its message cannot be shown: {type(broken).__name__}>"


def _text(error: BaseException) -> str:
    try:
        tb = _user_frames(error.__traceback__)
        return _clean("".join(traceback.format_exception(type(error), error, tb)))
    except BaseException:  # noqa: BLE001 - as above
        return f"{_type_name(error)}: {_message(error)}\n"


def _type_name(error: BaseException) -> str:
    cls = type(error)
    name = cls.__qualname__
    return _clean(name if cls.__module__ == "builtins" else f"{cls.__module__}.{name}")


# -- tracebacks ----------------------------------------------------------------------------------------


def _user_frames(tb: TracebackType | None) -> TracebackType | None:
    """Skip the frames of our own files before the user's code; none if there is only ours."""
    first = tb
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_OURS):
        tb = tb.tb_next
    return tb or first


def _cut(tb: TracebackType | None) -> TracebackType | None:
    """Leave out the middle of a very long traceback (a recursion)."""
    frames = []
    while tb is not None:
        frames.append(tb)
        tb = tb.tb_next
    if len(frames) > _FIRST_FRAMES + _LAST_FRAMES:
        frames[_FIRST_FRAMES:-_LAST_FRAMES] = []
    made: TracebackType | None = None
    for frame in reversed(frames):
        made = TracebackType(made, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return made


def _dump_traceback(tb: TracebackType | None) -> Any:
    if tb is None:
        return None
    import tblib  # only ever needed after a failure

    return tblib.Traceback(_cut(_user_frames(tb))).to_dict()


def _load_traceback(data: Any) -> TracebackType | None:
    if data is None:
        return None
    import tblib

    tb: TracebackType | None = tblib.Traceback.from_dict(data).as_traceback()
    return tb


# -- exceptions ----------------------------------------------------------------------------------------


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    """Make an exception without its constructor, which may want other arguments."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _ways(error: BaseException) -> Iterator[_Reduced]:
    """The ways to send an exception, the most faithful one first."""
    try:
        if not names_what_goes_by_value(data := pickle.dumps(error, 5)):
            yield pickle.loads, (data,)
    except Exception:  # noqa: BLE001, S110 - then another way
        pass
    state = {k: v for k, v in vars(error).items() if not k.startswith("__") or k == "__notes__"}
    yield _rebuild, (type(error), error.args, state)
    yield _rebuild, (type(error), error.args, {})
    yield _rebuild, (type(error), (_message(error),), {})


def _is_good(way: _Reduced, error: BaseException) -> bool:
    """Whether an exception can be sent this way: proved by doing it once here."""
    try:
        payload = dumps(way)
        if payload_nbytes(payload) > _LARGEST_EXCEPTION:
            return False
        make, args = loads(payload)
        copy = make(*args)
        # A constructor that writes its message itself writes it twice.
        return type(copy) is type(error) and _message(copy) == _message(error)
    except Exception:  # noqa: BLE001 - the user's pickling may do anything
        return False


def _portable(error: BaseException) -> _Reduced:
    for way in _ways(error):
        if _is_good(way, error):
            return way
    text = f"{_type_name(error)}: {_message(error)}"
    return _rebuild, (RemoteError, (text,), {"type_name": _type_name(error), "traceback": ""})


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """The exception and what it came from, outermost first, each with how it is referred to."""
    chain: list[tuple[BaseException, str]] = [(error, "")]
    while len(chain) < _DEEPEST_CHAIN:
        last = chain[-1][0]
        if last.__cause__ is not None:
            follower, relation = last.__cause__, "cause"
        elif last.__context__ is not None and not last.__suppress_context__:
            follower, relation = last.__context__, "context"
        else:
            break
        if any(follower is seen for seen, _ in chain):
            break
        chain.append((follower, relation))
    return chain


def dump_error(error: BaseException, worker: str = "") -> ErrorInfo:
    """Return the exception as a message part.  Never raises.

    What cannot be pickled, or is larger than 1 MiB, goes as text only.  An error that came from
    elsewhere and was not rebuilt here is passed on as it came.
    """
    if isinstance(error, RemoteError) and isinstance(error.info, ErrorInfo):
        return msgspec.structs.replace(error.info, worker=error.info.worker or worker)
    payload: Any = b""
    try:
        links = [(_portable(link), relation, _dump_traceback(link.__traceback__)) for link, relation in _chain(error)]
        # An exception of which nothing but the text is left is better told by that.
        if links[0][0][1][0] is not RemoteError or isinstance(error, RemoteError):
            payload = dumps(links)
    except BaseException:  # noqa: BLE001 - whatever the user's exception does when it is pickled
        payload = b""
    return ErrorInfo(_type_name(error), _message(error), _text(error), payload, worker)


def _load_chain(info: ErrorInfo) -> BaseException:
    links = loads(info.exception)
    chain: list[BaseException] = []
    for (make, args), relation, tb in links:
        error: BaseException = make(*args).with_traceback(_load_traceback(tb))
        if chain and relation == "cause":
            chain[-1].__cause__ = error
        elif chain:
            chain[-1].__context__ = error
        chain.append(error)
    if chain[-1].__cause__ is None:
        chain[-1].__cause__ = RemoteTraceback(info.traceback, info.worker)
    return chain[0]


def _load_own(info: ErrorInfo) -> BaseException | None:
    module, _, name = info.type_name.rpartition(".")
    cls = getattr(errors, name, None) if module == errors.__name__ else None
    if not (isinstance(cls, type) and issubclass(cls, DistributedError)) or not info.data:
        return None
    return cls(**info.data)


def load_error(info: ErrorInfo, key: str = "", *, unpickle: bool = True) -> BaseException:
    """Return an exception to raise for ``info``.  Never raises.

    The original type with message, cause and remote traceback where it can be rebuilt here; else
    TaskError (for a task: ``key``) or RemoteError with the remote text.  Without ``unpickle`` (in
    a scheduler) only errors of our own that came as plain data are rebuilt.
    """
    why = ""
    try:
        if (own := _load_own(info)) is not None:
            return own
        if info.exception and unpickle:
            return _load_chain(info)
    except BaseException as problem:  # noqa: BLE001 - the user's unpickling may do anything
        why = f" (it cannot be rebuilt here: {type(problem).__name__}: {_message(problem)})"
    text = f"{info.type_name}: {info.message}{why}"
    names = {"type_name": info.type_name, "traceback": info.traceback}
    error: BaseException
    if key:
        error = TaskError(text, key=key, worker=info.worker, **names)
    else:
        error = RemoteError(text, info=info, **names)
    if info.traceback:
        error.__cause__ = RemoteTraceback(info.traceback, info.worker)
    return error
