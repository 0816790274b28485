"""Tasks that wait for nothing but the result of another one at the same worker."""

from __future__ import annotations

import pytest

from distributed.messages import BlockFinished, CancelTask, StealTask
from distributed.worker import actions, events
from tests.unit.worker.driver import THERE, Driver, done, executes, of, sent, task


@pytest.fixture
def worker():
    return Driver()


def test_what_waits_for_a_task_alone_follows_it(worker):
    a, b, c = task("a"), task("b", needs={"a": []}), task("c", needs={"b": []})
    found = worker.told(a, b, c)
    assert executes(found) == ["a"]
    assert of(found, actions.Follow) == [actions.Follow([(a, b), (b, c)])]
    assert not worker.machine.waiting
    # A thread went on with one of them before anybody had looked.
    found = worker.executed(done(a), done(b))
    assert executes(found) == ["b", "c"]  # the executor knows of which it has taken up
    assert sent(found) == [BlockFinished("int", 0.2, ["a", "b"], [1, 1], [8, 8], [b"1", b"1"])]
    assert [m.key for m in sent(worker.executed(done(c)))] == ["c"]


@pytest.mark.parametrize(
    ("needs", "resources"),
    [({"a": [THERE]}, None), ({"a": [], "x": [THERE]}, None), ({"a": []}, {"GPU": 1}), ({"x": [THERE]}, None)],
)
def test_what_may_come_from_elsewhere_waits_for_more_or_asks_for_a_resource_does_not_follow(needs, resources):
    worker = Driver(resources={"GPU": 1})
    worker.told(task("a"))
    assert not of(worker.told(task("b", needs=needs, resources=resources)), actions.Follow)
    assert "b" in worker.machine.waiting


def test_only_one_follows(worker):
    worker.told(task("a"), task("b", needs={"a": []}))
    assert not of(worker.told(task("c", needs={"a": []})), actions.Follow)


@pytest.mark.parametrize("lost", [CancelTask("a", 1), StealTask("a", 1)])
def test_who_follows_a_task_that_goes_is_asked_back(worker, lost):
    a, b, c = task("a"), task("b", needs={"a": []}), task("c", needs={"b": []})
    worker.told(a, b, c)
    found = worker.told(lost)
    if isinstance(lost, StealTask):
        assert of(found, actions.Withdraw) == [actions.Withdraw([a])]
        found = worker.handle(events.Withdrawn([a]))
        assert of(found, actions.Withdraw) == [actions.Withdraw([b, c])]
    else:
        assert of(found, actions.Withdraw) == [actions.Withdraw([a, b, c])]
    # One of them had begun meanwhile, after the end of the first.
    assert [m.key for m in sent(worker.handle(events.Withdrawn([c])))] == ["c"]
    assert [m.key for m in sent(worker.executed(done(b)))] == ["b"]


def test_a_follower_that_goes_leaves_its_leader_to_others(worker):
    a, b, c = task("a"), task("b", needs={"a": []}), task("c", needs={"b": []})
    worker.told(a, b, c)
    found = worker.told(CancelTask("b", 1))
    assert of(found, actions.Withdraw) == [actions.Withdraw([b, c])]
    worker.handle(events.Withdrawn([b, c]))
    another = task("d", needs={"a": []})
    assert of(worker.told(another), actions.Follow) == [actions.Follow([(a, another)])]
    assert executes(worker.executed(done(a))) == ["d"]
