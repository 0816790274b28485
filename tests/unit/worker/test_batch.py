"""The order in which the actions of one event happen."""

from __future__ import annotations

from distributed.messages import Heartbeat, RunTask
from distributed.worker import actions
from distributed.worker.batch import Batch


def test_nothing_gathered_is_nothing_to_do():
    assert Batch().actions() == []


def test_actions_come_in_the_order_in_which_they_must_happen():
    batch = Batch()
    run = RunTask("a", 1, "f", b"")
    batch.messages.append(Heartbeat(0, 0))
    batch.fetches.append(("10.0.0.1:1", ["x"], 5))
    batch.withdraw.append(run)
    batch.execute.append(run)
    batch.others.append(actions.Resume(1))
    batch.drops.append("y")
    batch.functions["f"] = b"p"
    assert [type(action).__name__ for action in batch.actions()] == [
        "LearnFunctions",
        "Drop",
        "Resume",
        "Execute",
        "Withdraw",
        "Fetch",
        "SendScheduler",
    ]
