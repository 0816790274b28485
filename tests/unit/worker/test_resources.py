"""A worker's named resources."""

from __future__ import annotations

from distributed.messages import RunTask
from distributed.worker.resources import Resources


def task(key, amounts, rank=0):
    return RunTask(key, 1, "f", b"", rank, resources=amounts)


def test_a_task_that_does_not_fit_is_blocked_until_it_does():
    resources = Resources({"GPU": 2, "mem": 10})
    first, second = task("a", {"GPU": 2}), task("b", {"GPU": 1, "mem": 5})
    assert resources.take(first)
    assert not resources.take(second)
    assert list(resources.blocked) == ["b"]
    assert resources.release(first) == [second]
    assert resources.free() == {"GPU": 1, "mem": 5}


def test_blocked_tasks_come_by_rank():
    resources = Resources({"GPU": 1})
    first = task("a", {"GPU": 1})
    resources.take(first)
    late, early = task("late", {"GPU": 0.5}, 2), task("early", {"GPU": 0.5}, 1)
    resources.take(late)
    resources.take(early)
    assert [t.key for t in resources.release(first)] == ["early", "late"]


def test_more_than_there_is_takes_all_and_what_is_unknown_is_free():
    resources = Resources({"GPU": 1})
    assert resources.take(task("a", {"GPU": 8, "license": 3}))
    assert resources.free() == {"GPU": 0}


def test_thirds_add_up():
    resources = Resources({"GPU": 1})
    thirds = [task(str(n), {"GPU": 1 / 3}) for n in range(3)]
    assert all(resources.take(third) for third in thirds)
    for third in thirds:
        resources.release(third)
    assert resources.take(task("whole", {"GPU": 1}))
