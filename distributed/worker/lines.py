"""Who follows whom at a worker: tasks that the executor has, and that wait for nothing but the result of another there.

The thread that ends a leader may go on with its follower, which may be a leader itself.
"""

from __future__ import annotations

from distributed.messages import RunTask

__all__ = ["Lines"]


class Lines:
    """``followers``: key of a leader -> the one task that follows it, which has that key among its dependencies."""

    __slots__ = ("followers",)

    def __init__(self) -> None:
        self.followers: dict[str, RunTask] = {}

    def step_out(self, task: RunTask) -> None:
        """Nothing comes of the end of the one that a task follows: it has begun, or is asked back."""
        followers = self.followers
        for leader in task.dependencies if followers else ():
            if followers.get(leader) is task:
                del followers[leader]

    def break_off(self, task: RunTask) -> list[RunTask]:
        """A task leaves before its end: it follows nobody; return all that were to follow, who do not any more."""
        self.step_out(task)
        left, key = [], task.key
        while (follower := self.followers.pop(key, None)) is not None:
            left.append(follower)
            key = follower.key
        return left
