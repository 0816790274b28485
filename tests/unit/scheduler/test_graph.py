from __future__ import annotations

from typing import Any

import pytest

from distributed.messages import (
    KeyCancelled,
    KeyErred,
    KeyInMemory,
    ReleaseKeys,
    RunTask,
    SubmitTasks,
    TaskSpec,
)
from distributed.scheduler.state import RANK_BITS
from tests.unit.scheduler.desk import Desk, spec


def test_a_task_goes_to_a_worker_and_its_result_to_the_client() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    assert desk.runs("a:1") == ["x"]
    desk.finish("x")
    assert desk.heard("c") == [KeyInMemory("x", "int", 8, ["a:1"], b"7")]


def test_dependents_wait_and_are_told_where_their_inputs_are() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(spec("x", workers=["a:1"]), spec("y", workers=["b:1"]), spec("z", "x", "y", workers=["a:1"]))
    assert desk.kind("z") == "waiting"
    desk.heard("a:1")
    desk.finish("x")
    desk.finish("y", nbytes=100)
    [run] = desk.heard("a:1", RunTask)
    assert run.key == "z"
    assert run.dependencies == ["x", "y"]
    assert run.who_has == {"y": ["b:1"]}, "what it has it need not be told of"
    assert run.nbytes == {"y": 100}


def test_dependencies_may_come_later_in_the_same_batch() -> None:
    desk = Desk()
    desk.submit(spec("z", "y"), spec("y", "x"), "x")
    assert [desk.kind(key) for key in "xyz"] == ["queued", "waiting", "waiting"]


def test_a_dependency_named_twice_counts_once() -> None:
    desk = Desk("a:1")
    desk.submit("x", spec("y", "x", "x"))
    desk.finish("x")
    assert desk.place("y") == "a:1"


@pytest.mark.parametrize(
    ("specs", "refused", "reason"),
    [
        ([spec("y", "x")], "y", "depends on x, which this scheduler does not know"),
        ([spec("z", "y"), spec("y", "x")], "yz", "depends on x, which"),
        ([spec("x", "x")], "x", "cycle of tasks: x -> x"),
        ([spec("x", "y"), spec("y", "x"), spec("z", "y"), "w"], "xyz", "cycle of tasks: "),
        ([spec("x", resources={"GPU": -1.0})], "x", "asks for -1 of GPU"),
        ([spec("x", resources={"GPU": float("nan")})], "x", "asks for nan of GPU"),
    ],
)
def test_what_cannot_be_linked_is_refused_with_a_reason(specs: list[Any], refused: str, reason: str) -> None:
    desk = Desk("a:1")
    desk.submit(*specs)
    messages = {message.key: message.reason for message in desk.heard("c", KeyCancelled)}
    assert sorted(messages) == list(refused)
    assert all(reason in text for text in messages.values()), messages
    assert not [key for key in refused if key in desk.state.tasks]


def test_a_function_that_was_never_sent_is_a_reason_too() -> None:
    desk = Desk("a:1")
    desk.client(SubmitTasks([TaskSpec("x", "g", b""), TaskSpec("y", "g", b"", ["x"])]))
    reasons = {message.key: message.reason for message in desk.heard("c", KeyCancelled)}
    assert "its function g was never sent" in reasons["x"]
    assert "depends on x" in reasons["y"]


def test_a_known_key_is_only_wanted_and_reported() -> None:
    desk = Desk("a:1", clients="cd")
    desk.submit("x")
    desk.finish("x")
    desk.submit("x", name="d")
    assert desk.heard("d") == [KeyInMemory("x", "int", 8, ["a:1"], None)]
    assert desk.runs("a:1") == ["x"]
    desk.client(ReleaseKeys(["x"]))
    assert desk.kind("x") == "memory"
    desk.client(ReleaseKeys(["x"]), name="d")
    assert desk.kind("x") == "unknown"


def test_a_failed_key_reports_its_failure_again() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    desk.err("x")
    desk.heard("c")
    desk.submit("x", spec("y", "x"))
    assert [message.key for message in desk.heard("c", KeyErred)] == ["x", "y"]


def test_priority_goes_first_then_the_order_of_submission() -> None:
    desk = Desk()
    desk.submit("a", spec("b", priority=-1), spec("c", priority=10), "d")
    queue = desk.state.anything.queue
    assert [queue.pop().key for _ in range(4)] == ["c", "a", "d", "b"]


def test_what_is_begun_is_finished_before_more_is_begun() -> None:
    desk = Desk("a:1", prefetch_tasks=0)
    pairs = [(f"x{i}", spec(f"y{i}", f"x{i}")) for i in range(4)]
    desk.submit(*[x for x, _ in pairs], *[y for _, y in pairs])
    order = []
    while desk.at("a:1"):
        order.append(key := desk.at("a:1")[0])
        desk.finish(key)
    # One task is always ahead of the one that runs.
    assert order == ["x0", "x1", "y0", "y1", "x2", "x3", "y2", "y3"]


def test_finished_dependencies_do_not_make_a_task_old() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    desk.finish("x")
    desk.submit("p", "q", spec("y", "x"))
    assert desk.task("y").rank > desk.task("q").rank


def test_an_absurd_priority_does_not_break_the_wire() -> None:
    desk = Desk("a:1")
    desk.submit(spec("x", priority=10**30))
    [run] = desk.heard("a:1", RunTask)
    assert run.rank == 2 - (1_000_000 << RANK_BITS)


def test_a_function_is_sent_once_per_worker_and_forgotten_with_its_last_user() -> None:
    desk = Desk("a:1", "b:1", clients="cd")
    desk.submit("x", "y", "z", "w")
    for address in ("a:1", "b:1"):
        kinds = [type(message).__name__ for message in desk.heard(address)]
        assert kinds == ["AddFunction", "RunTask", "RunTask"]
    desk.client(ReleaseKeys(["x", "y", "z", "w"]))
    assert "f" in desk.state.functions, "the client may name it again without sending it"
