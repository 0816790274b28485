"""The errors that the scheduler itself gives to tasks, as messages: it never pickles.

``ErrorInfo.data`` holds the constructor arguments of the error class that ``type_name`` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distributed import errors
from distributed.messages import ErrorInfo

__all__ = ["killed_error", "lost_error", "unreachable_error"]


def _info(cls: type[errors.DistributedError], **data: Any) -> ErrorInfo:
    return ErrorInfo(f"{cls.__module__}.{cls.__qualname__}", str(cls(**data)), data=data)


def lost_error(key: str, workers: Sequence[str]) -> ErrorInfo:
    """Data that cannot be computed went away: with the ``workers``, or because nobody wanted it any more."""
    if workers:
        return _info(errors.WorkerLostError, key=key, workers=list(workers))
    message = (
        f"{key} was scattered data and has been released, so what was made from it cannot be computed again; "
        "keep its future for as long as results that depend on it are needed"
    )
    return _info(errors.WorkerLostError, key=key, workers=[], message=message)


def killed_error(key: str, causes: Sequence[str]) -> ErrorInfo:
    """A task was at several workers when they died."""
    return _info(errors.KilledWorker, key=key, causes=list(causes))


def unreachable_error(key: str, missing: dict[str, list[str]], times: int) -> ErrorInfo:
    """The dependencies of a task could not be fetched, again and again."""
    dependency, holders = next(iter(missing.items()))
    message = (
        f"the task {key} could not get {dependency} from {', '.join(holders) or 'any worker'}, tried {times} times; "
        "check that the workers can connect to each other (firewall, --interface, --host)"
    )
    return _info(errors.CommError, message=message, address=holders[0] if holders else "")
