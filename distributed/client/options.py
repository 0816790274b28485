"""What a user asks of a task's placement, checked where it is asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from distributed.messages import TaskOptions

__all__ = ["make_options", "worker_names"]


def worker_names(workers: Any) -> list[str] | None:
    """Return names of workers as a list: one string, or several.  Raises TypeError."""
    if workers is None:
        return None
    names = [workers] if isinstance(workers, str) else list(workers)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"workers are named by address, host or name as strings, not {type(name).__name__}")
    return names


def _resources(resources: Any) -> dict[str, float] | None:
    if not resources:
        return None
    for name, amount in resources.items():
        if not isinstance(name, str) or isinstance(amount, bool) or not isinstance(amount, int | float):
            raise TypeError(f"resources map names to numbers, not {name!r} to {amount!r}")
        if not 0 <= amount < float("inf"):
            raise ValueError(f"a task cannot hold {amount!r} of {name}")
    return {name: float(amount) for name, amount in resources.items()}


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    if not least <= value < 2**31:
        raise ValueError(f"{name} is a number from {least} to 2**31 - 1, not {value}")
    return value


def make_options(
    *,
    priority: int = 0,
    retries: int = 0,
    workers: str | Iterable[str] | None = None,
    allow_other_workers: bool = False,
    resources: dict[str, float] | None = None,
) -> TaskOptions | None:
    """Return the options of a task, None if there are none.  Raises TypeError and ValueError."""
    if allow_other_workers and workers is None:
        raise ValueError("allow_other_workers says nothing without workers=")
    names = worker_names(workers)
    if names is not None and not names:
        raise ValueError("workers= names no worker")
    if not (priority or retries or names or resources):
        return None
    return TaskOptions(
        priority=_whole("priority", priority, -(2**31)),
        retries=_whole("retries", retries, 0),
        workers=names,
        allow_other_workers=bool(allow_other_workers),
        resources=_resources(resources),
    )
