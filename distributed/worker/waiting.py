"""Tasks of a worker that wait for data: those that wait for the same, wait together."""

from __future__ import annotations

from distributed.messages import RunTask

__all__ = ["Waiting"]


class Waiting:
    """Tasks, by key, that wait for the same keys, those in ``missing``, and were told the same of where these lie."""

    __slots__ = ("missing", "nbytes", "tasks", "who_has")

    def __init__(
        self, tasks: dict[str, RunTask], missing: list[str], who_has: dict[str, list[str]], nbytes: dict[str, int]
    ) -> None:
        self.tasks = tasks
        self.missing = set(missing)
        self.who_has = who_has
        self.nbytes = nbytes
