"""Where a running task is: ``get_worker()`` and ``get_task_key()``."""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["get_task_key", "get_worker", "here"]


class _Here(threading.local):
    worker: Any = None
    key: str = ""


here = _Here()
"""Of the current thread: ``worker`` (None outside of tasks) and the ``key`` of the task that it
runs."""


def get_worker() -> Any:
    """Return the :class:`~distributed.worker.Worker` that runs the current task.

    Raises ValueError outside of a task.
    """
    if here.worker is None:
        raise ValueError("this thread runs no task of a worker; call get_worker() inside a task")
    return here.worker


def get_task_key() -> str:
    """Return the key of the current task.  Raises ValueError outside of a task."""
    if not here.key:
        raise ValueError("this thread runs no task of a worker; call get_task_key() inside a task")
    return here.key
