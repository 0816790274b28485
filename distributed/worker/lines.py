"""Who follows whom at a worker: tasks that the executor has, and that wait for nothing but the result of another there.

The thread that ends a leader may go on with its follower, which may be a leader itself.
"""

from __future__ import annotations

from distributed.messages import RunTask

__all__ = ["Lines"]


class Lines:
    """``followers``: key of a leader -> the task that follows it; ``leaders``: the other way, both by key."""

    __slots__ = ("followers", "leaders")

    def __init__(self) -> None:
        self.followers: dict[str, RunTask] = {}
        self.leaders: dict[str, str] = {}

    def join(self, task: RunTask, leader: str) -> None:
        """The task follows ``leader``, which nobody does yet."""
        self.followers[leader] = task
        self.leaders[task.key] = leader

    def step_out(self, key: str) -> None:
        """Nothing comes of the end of the one that a task follows: it has begun, or is asked back."""
        if (leader := self.leaders.pop(key, None)) is not None:
            del self.followers[leader]

    def next_after(self, leader: str) -> RunTask | None:
        """The leader has ended well: return who followed it, if anybody did, and forget that."""
        follower = self.followers.pop(leader, None)
        if follower is not None:
            del self.leaders[follower.key]
        return follower

    def break_off(self, key: str) -> list[RunTask]:
        """A task leaves before its end: it follows nobody; return all that were to follow, who do not any more."""
        self.step_out(key)
        left = []
        while (follower := self.next_after(key)) is not None:
            left.append(follower)
            key = follower.key
        return left

    def clear(self) -> None:
        """Nobody follows anybody."""
        self.followers.clear()
        self.leaders.clear()
