"""Exceptions on their way between processes: type, message, cause and remote traceback survive.

:func:`dump_error` never raises, whatever the exception looks like; :func:`load_error` always returns something that
can be raised.
"""

from __future__ import annotations

import pickle
import traceback
from pathlib import PurePath
from types import TracebackType
from typing import Any

from distributed import errors
from distributed.errors import DistributedError, RemoteError, TaskError
from distributed.messages import ErrorInfo
from distributed.wire.payload import dumps, loads, payload_nbytes

__all__ = ["RemoteTraceback", "dump_error", "load_error"]

_LONGEST_TEXT = 20_000
_LARGEST_EXCEPTION = 2**20
_DEEPEST_CHAIN = 20
_MOST_FRAMES = 100
_OURS = str(PurePath(__file__).parent.parent)


class RemoteTraceback(Exception):  # noqa: N818 - shown as the cause of another error, never raised itself
    """Carries the text of a remote traceback as the cause of the exception that it belongs to."""

    def __init__(self, text: str, worker: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.worker = worker

    def __str__(self) -> str:
        where = f" on worker {self.worker}" if self.worker else ""
        return f"\n\nRaised{where}:\n{self.text}"


def _shorten(text: str) -> str:
    if len(text) <= _LONGEST_TEXT:
        return text
    half = _LONGEST_TEXT // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def _user_frames(tb: TracebackType | None) -> TracebackType | None:
    """Skip the frames of our own files before the user's code; all of them if there is none of the user's."""
    first = tb
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_OURS):
        tb = tb.tb_next
    return tb or first


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _portable(error: BaseException) -> tuple[Any, ...]:
    """Return ``(callable, args)`` that rebuilds the exception elsewhere, proved by doing it once here."""
    reduced: tuple[Any, ...] = (pickle.loads, (cloud,)) if (cloud := _self_pickle(error)) else ()
    if not reduced:
        state = {k: v for k, v in vars(error).items() if not k.startswith("__")}
        reduced = _rebuild, (type(error), error.args, state)
        loads(dumps(reduced))
    return reduced


def _self_pickle(error: BaseException) -> bytes:
    try:
        data = pickle.dumps(error, 5)
        copy = pickle.loads(data)
    except Exception:
        return b""
    by_value = b"__main__" in data or type(copy) is not type(error)
    return b"" if by_value else data


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """The exception and what it came from, outermost first, each with how the one before refers to it."""
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


def _dump_traceback(tb: TracebackType | None) -> Any:
    frames, deeper = 0, tb
    while deeper is not None:
        frames, deeper = frames + 1, deeper.tb_next
    # An endless recursion's is nested too deep to be pickled; its text tells the story.
    if tb is None or frames > _MOST_FRAMES:
        return None
    import tblib  # only ever needed after a failure

    return tblib.Traceback(tb).to_dict()


def _message(error: BaseException) -> str:
    try:
        return _shorten(str(error))
    except Exception as broken:
        return f"<its message cannot be shown: {type(broken).__name__}>"


def _text(error: BaseException) -> str:
    try:
        tb = _user_frames(error.__traceback__)
        return _shorten("".join(traceback.format_exception(type(error), error, tb)))
    except Exception:
        return f"{type(error).__name__}: {_message(error)}\n"


def _type_name(error: BaseException) -> str:
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def dump_error(error: BaseException, worker: str = "") -> ErrorInfo:
    """Return the exception as a message part.  Never raises.

    What cannot be pickled, or is larger than 1 MiB, goes as text only.
    """
    payload: Any = b""
    try:
        links = [
            (_portable(link), relation, _dump_traceback(_user_frames(link.__traceback__)))
            for link, relation in _chain(error)
        ]
        payload = dumps(links)
        if payload_nbytes(payload) > _LARGEST_EXCEPTION:
            payload = b""
    except BaseException:  # whatever the user's exception does when it is pickled
        payload = b""
    return ErrorInfo(_type_name(error), _message(error), _text(error), payload, worker)


def _load_traceback(data: Any) -> TracebackType | None:
    if data is None:
        return None
    import tblib

    tb: TracebackType | None = tblib.Traceback.from_dict(data).as_traceback()
    return tb


def _load_chain(info: ErrorInfo) -> BaseException:
    links = loads(info.exception)
    chain: list[BaseException] = []
    for (rebuild, args), relation, tb in links:
        error: BaseException = rebuild(*args).with_traceback(_load_traceback(tb))
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


def load_error(info: ErrorInfo, key: str = "") -> BaseException:
    """Return an exception to raise for ``info``.  Never raises.

    The original type with message, cause and remote traceback where it can be rebuilt here; else TaskError (for a
    task: ``key``) or RemoteError with the remote text.
    """
    why = ""
    try:
        if (own := _load_own(info)) is not None:
            return own
        if info.exception:
            return _load_chain(info)
    except Exception as problem:
        why = f" (it cannot be rebuilt here: {type(problem).__name__}: {problem})"
    text = f"{info.type_name}: {info.message}{why}"
    if key:
        error: BaseException = TaskError(
            text, key=key, worker=info.worker, type_name=info.type_name, traceback=info.traceback
        )
    else:
        error = RemoteError(text, type_name=info.type_name, traceback=info.traceback)
    if info.traceback:
        error.__cause__ = RemoteTraceback(info.traceback, info.worker)
    return error
