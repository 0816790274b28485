"""Tasks of a worker that wait for data: those that wait for the same, wait together."""

from __future__ import annotations

from distributed.messages import RunTask

__all__ = ["Waiting", "validate_waiting"]


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


def validate_waiting(waiting: dict[str, Waiting], needed_by: dict[str, dict[Waiting, None]]) -> None:
    """Check that who waits and who is waited for agree.  For tests; raises AssertionError."""
    for key, wait in waiting.items():
        assert wait.tasks[key].key == key
        assert wait.missing, f"{key} waits for nothing"
        for needed in wait.missing:
            assert wait in needed_by[needed], f"{needed} does not know that {key} waits for it"
    for needed, waits in needed_by.items():
        assert waits, f"{needed} is needed by nobody"
        for wait in waits:
            assert wait.tasks, f"{needed} is needed by nobody"
            assert needed in wait.missing, f"{list(wait.tasks)} do not wait for {needed}"
            assert all(waiting[key] is wait for key in wait.tasks), f"{needed} is needed by who left"
