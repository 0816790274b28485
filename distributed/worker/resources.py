"""The named resources of a worker, and the tasks that wait for them: pure bookkeeping."""

from __future__ import annotations

from collections.abc import Mapping

from distributed.messages import RunTask

__all__ = ["Resources"]

_ROUNDING = 1e-9


class Resources:
    """How much of each resource is free, and which ready tasks are ``blocked`` until more is.

    The scheduler counts too; this is the worker's own guard, for tasks that were sent ahead.  A
    task that asks for more than there is in all gets what there is, so that it cannot wait for
    ever.
    """

    __slots__ = ("_free", "_totals", "blocked")

    def __init__(self, totals: Mapping[str, float] | None = None) -> None:
        self._totals = dict(totals or {})
        self._free = dict(self._totals)
        self.blocked: dict[str, RunTask] = {}

    def take(self, task: RunTask) -> bool:
        """Reserve what ``task`` asks for, or keep it as blocked and return False."""
        wanted = self._wanted(task)
        if any(amount > self._free[name] + _ROUNDING for name, amount in wanted.items()):
            self.blocked[task.key] = task
            return False
        for name, amount in wanted.items():
            self._free[name] -= amount
        return True

    def release(self, task: RunTask) -> list[RunTask]:
        """Give back what ``task`` held; return the blocked tasks that have theirs now, by
        rank.
        """
        for name, amount in self._wanted(task).items():
            self._free[name] = min(self._totals[name], self._free[name] + amount)
        blocked, self.blocked = self.blocked, {}
        ordered = sorted(blocked.values(), key=lambda task: (task.rank, task.run))
        return [task for task in ordered if self.take(task)]

    def free(self) -> dict[str, float]:
        """Return a copy of the free amounts."""
        return dict(self._free)

    def _wanted(self, task: RunTask) -> dict[str, float]:
        totals = self._totals
        return {name: min(amount, totals[name]) for name, amount in (task.resources or {}).items() if name in totals}
