from __future__ import annotations

import itertools

import pytest

from distributed.messages import (
    CancelKeys,
    CancelTask,
    Heartbeat,
    KeyErred,
    KeyInMemory,
    ReleaseKeys,
    RunTask,
    StealTask,
    TaskFinished,
    TaskMissingData,
    TaskReturned,
    WantKeys,
)
from distributed.scheduler import queries
from tests.unit.scheduler.desk import Desk, spec


def line(desk: Desk, count: int = 4, **options: object) -> list[str]:
    """A chain that is at its worker as a whole."""
    keys = [f"t{i}" for i in range(count)]
    desk.submit(spec("t0", **options), *[spec(b, a, **options) for a, b in itertools.pairwise(keys)])
    return keys


def kinds(desk: Desk, keys: list[str]) -> list[str]:
    return [desk.kind(key) for key in keys]


def test_a_chain_goes_to_its_worker_as_a_whole_and_in_order() -> None:
    desk = Desk("a:1", "b:1")
    keys = line(desk)
    place = desk.place("t0")
    assert kinds(desk, keys) == ["processing", "ahead", "ahead", "ahead"]
    runs = desk.heard(place, RunTask)
    assert [run.key for run in runs] == keys
    assert [run.dependencies for run in runs] == [[], ["t0"], ["t1"], ["t2"]]
    assert not any(run.who_has for run in runs)


def test_a_chain_of_tasks_with_retries_and_a_priority_goes_ahead_too() -> None:
    desk = Desk("a:1", "b:1")
    keys = line(desk, retries=2, priority=3)
    assert kinds(desk, keys) == ["processing", "ahead", "ahead", "ahead"]


def test_links_that_come_later_follow_those_that_are_there() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit("t0")
    desk.submit(spec("t1", "t0"))
    desk.submit(spec("t2", "t1"))
    assert kinds(desk, ["t0", "t1", "t2"]) == ["processing", "ahead", "ahead"]


def test_the_end_of_a_link_starts_the_next_in_the_books() -> None:
    desk = Desk("a:1")
    keys = line(desk, 3)
    desk.heard("a:1")
    desk.report("a:1", desk.finished("t0"), desk.finished("t1"))
    assert kinds(desk, keys) == ["memory", "memory", "processing"]
    assert not desk.heard("a:1", RunTask), "nothing has to be sent"
    desk.finish("t2")
    assert [message.key for message in desk.heard("c", KeyInMemory)] == keys


def test_one_of_several_dependents_is_not_sent_ahead() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit("x", spec("y", "x"), spec("z", "x"))
    assert kinds(desk, ["y", "z"]) == ["waiting", "waiting"]


def test_the_second_dependent_of_a_leader_stays_where_a_thread_may_be_free() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit("x")
    desk.submit(spec("y", "x"))
    desk.submit(spec("z", "x"))
    assert kinds(desk, ["y", "z"]) == ["ahead", "waiting"]


def test_what_needs_data_from_elsewhere_is_not_sent_ahead() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(spec("far", workers=["b:1"]), spec("x", workers=["a:1"]))
    desk.finish("far")
    desk.submit(spec("y", "x", "far", workers=["a:1"]))
    assert desk.kind("y") == "waiting"
    desk.submit(spec("near", workers=["a:1"]))
    desk.finish("x", "near")
    desk.submit(spec("x2", workers=["a:1"]), spec("z", "x2", "near", workers=["a:1"]))
    desk.finish("y")
    assert desk.place("x2") == "a:1"
    assert desk.kind("z") == "ahead"


@pytest.mark.parametrize("options", [{"resources": {"GPU": 1.0}}, {"workers": ["b:1"]}, {"priority": -1}])
def test_who_asks_for_something_else_is_not_sent_ahead(options: dict[str, object]) -> None:
    desk = Desk()
    desk.join("a:1", resources={"GPU": 1.0})
    desk.join("b:1", resources={"GPU": 1.0})
    desk.submit(spec("x", workers=["a:1"]), spec("y", "x", **options))
    assert desk.kind("y") == "waiting"


def test_a_line_bound_to_one_worker_goes_there() -> None:
    desk = Desk("a:1", "b:1")
    keys = line(desk, 3, workers=["b:1"])
    assert kinds(desk, keys) == ["processing", "ahead", "ahead"]
    assert desk.runs("b:1") == keys


def test_so_many_are_sent_ahead_and_the_rest_when_the_line_moves_on() -> None:
    desk = Desk("a:1", prefetch_tasks=2)
    keys = line(desk, 6)
    assert kinds(desk, keys) == ["processing", "ahead", "ahead", "waiting", "waiting", "waiting"]
    desk.finish("t0", "t1", "t2")
    desk.finish("t3")
    assert desk.kind("t4") == "processing"
    desk.finish("t4", "t5")
    assert set(kinds(desk, keys)) == {"memory"}


def test_an_error_fails_the_whole_line() -> None:
    desk = Desk("a:1")
    keys = line(desk)
    desk.heard("a:1")
    desk.err("t0")
    assert kinds(desk, keys) == ["erred"] * 4
    assert [(m.key, m.error.message) for m in desk.heard("c", KeyErred)] == [(key, "from t0") for key in keys]
    assert {message.key for message in desk.heard("a:1", CancelTask)} == set(keys[1:])


def test_a_retry_calls_the_line_back_and_counts_no_missing_data() -> None:
    desk = Desk("a:1")
    desk.submit(spec("t0", retries=1), spec("t1", "t0"))
    run = desk.task("t1").run
    desk.err("t0")
    desk.report("a:1", TaskMissingData("t1", run, {"t0": []}))
    assert kinds(desk, ["t0", "t1"]) == ["processing", "waiting"]
    assert desk.task("t1").trouble is None
    desk.finish("t0", "t1")
    assert kinds(desk, ["t0", "t1"]) == ["memory", "memory"]


def test_a_stolen_leader_calls_its_followers_back() -> None:
    desk = Desk("a:1")
    desk.submit("x", "t0", spec("t1", "t0"), spec("t2", "t1"))
    assert desk.at("a:1") == ["x", "t0"]
    desk.join("b:1")
    desk.report("b:1", Heartbeat(0, 0))
    [steal] = desk.heard("a:1", StealTask)
    assert steal.key == "t0"
    desk.report("a:1", TaskReturned("t0", steal.run))
    assert desk.place("t0") == "b:1"
    assert {message.key for message in desk.heard("a:1", CancelTask)} == {"t1", "t2"}
    assert desk.runs("b:1") == ["t0", "t1", "t2"]


def test_an_answer_about_a_run_that_was_called_back_is_stale() -> None:
    desk = Desk("a:1")
    line(desk, 2)
    run = desk.task("t1").run
    desk.err("t0")
    desk.heard("a:1")
    desk.report("a:1", TaskFinished("t1", run, 8, 0.1, "int", b"7"))
    assert desk.kind("t1") == "erred"
    assert desk.heard("a:1") == [CancelTask("t1", run)]


def test_a_worker_that_ends_a_follower_before_its_leader_does_no_harm() -> None:
    desk = Desk("a:1")
    line(desk, 2)
    desk.report("a:1", desk.finished("t1"))
    assert kinds(desk, ["t0", "t1"]) == ["processing", "memory"]
    desk.finish("t0")


def test_cancel_and_release_take_the_line_from_its_worker() -> None:
    desk = Desk("a:1", "b:1")
    keys = line(desk)
    place = desk.place("t0")
    desk.heard(place)
    desk.client(CancelKeys(["t2"]))
    assert {message.key for message in desk.heard(place, CancelTask)} == {"t2", "t3"}
    assert kinds(desk, keys) == ["processing", "ahead", "unknown", "unknown"]
    desk.client(ReleaseKeys(["t0", "t1"]))
    assert not desk.state.tasks
    assert {message.key for message in desk.heard(place, CancelTask)} == {"t0", "t1"}


def test_the_end_of_a_worker_takes_the_line_elsewhere() -> None:
    desk = Desk("a:1")
    keys = line(desk)
    desk.finish("t0")
    desk.leave("a:1")
    desk.join("b:1")
    assert kinds(desk, keys)[0] == "processing"
    # All that was there is suspected, so it runs alone: nothing is sent ahead of a suspect.
    assert kinds(desk, keys)[1:] == ["waiting"] * 3
    desk.finish(*keys)
    assert [message.key for message in desk.heard("c", KeyInMemory)] == ["t0", *keys]


def test_a_worker_that_leaves_on_purpose_gives_the_line_back_without_suspicion() -> None:
    desk = Desk("a:1")
    keys = line(desk)
    desk.leave("a:1", expected=True)
    desk.join("b:1")
    assert kinds(desk, keys) == ["processing", "ahead", "ahead", "ahead"]


def test_lines_at_killed_workers_end_when_the_leader_is_given_up() -> None:
    desk = Desk("a:1", allowed_failures=1)
    keys = line(desk)
    desk.leave("a:1")
    assert kinds(desk, keys) == ["erred"] * 4


def test_data_lost_elsewhere_calls_a_follower_back() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(spec("d", workers=["a:1"]))
    desk.finish("d")
    desk.submit(spec("x", workers=["a:1"]), spec("y", "d", workers=["a:1"]), spec("z", "x", "d", workers=["a:1"]))
    assert kinds(desk, ["x", "y", "z"]) == ["processing", "processing", "ahead"]
    desk.report("a:1", TaskMissingData("y", desk.task("y").run, {"d": ["a:1"]}))
    assert kinds(desk, ["d", "y", "z"]) == ["processing", "waiting", "waiting"]
    desk.finish("x", "d", "y", "z")


def test_paused_workers_get_no_followers() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    desk.report("a:1", Heartbeat(1, 0, paused=True))
    desk.submit(spec("y", "x"))
    assert desk.kind("y") == "waiting"
    desk.client(WantKeys(["y"]))
    desk.report("a:1", Heartbeat(1, 0))
    desk.finish("x", "y")


def test_why_says_whom_a_task_follows() -> None:
    desk = Desk("a:1")
    line(desk, 2)
    assert queries.why(desk.state, "t1") == "t1 was sent ahead to a:1, where it starts when t0 has ended"
    assert queries.counts(desk.state) == {"ahead": 1, "processing": 1}
