"""The actions that one event leads to, gathered so that each kind is one action however many tasks
it concerns.
"""

from __future__ import annotations

from distributed.messages import BlockFinished, Message, RunTask, TaskFinished
from distributed.payloads import Payload
from distributed.worker.actions import (
    Action,
    Drop,
    Execute,
    Fetch,
    Follow,
    LearnFunctions,
    SendScheduler,
    Withdraw,
)

__all__ = ["Batch"]


class Batch:
    """Collects what one event asks for; :meth:`actions` puts it in the order in which it must
    happen.

    Functions come before the tasks that use them; tasks before those that follow them, and both
    before the withdrawals, so that a task that came and was cancelled in one batch is taken out
    again; messages to the scheduler last.
    """

    __slots__ = (
        "drops",
        "execute",
        "fetches",
        "follow",
        "functions",
        "messages",
        "others",
        "withdraw",
    )

    def __init__(self) -> None:
        self.functions: dict[str, Payload] = {}
        self.drops: list[str] = []
        self.execute: list[RunTask] = []
        self.follow: list[tuple[RunTask, RunTask]] = []
        self.withdraw: list[RunTask] = []
        self.fetches: list[tuple[str, list[str], int]] = []
        self.others: list[Action] = []
        self.messages: list[Message] = []

    def finish(self, finished: list[TaskFinished]) -> None:
        """Tell the scheduler of results of one type and function; those of several tasks go as a block."""
        if len(finished) < 2:
            self.messages += finished
            return
        self.messages.append(
            BlockFinished(
                finished[0].type_name,
                sum([message.duration_s for message in finished]),
                [message.key for message in finished],
                [message.run for message in finished],
                [message.nbytes for message in finished],
                [message.result for message in finished],
            )
        )

    def actions(self) -> list[Action]:
        """Return what was gathered as actions, in order."""
        actions: list[Action] = []
        if self.functions:
            actions.append(LearnFunctions(self.functions))
        if self.drops:
            actions.append(Drop(self.drops))
        actions.extend(self.others)
        if self.execute:
            actions.append(Execute(self.execute))
        if self.follow:
            actions.append(Follow(self.follow))
        if self.withdraw:
            actions.append(Withdraw(self.withdraw))
        actions.extend(Fetch(*request) for request in self.fetches)
        if self.messages:
            actions.append(SendScheduler(self.messages))
        return actions
