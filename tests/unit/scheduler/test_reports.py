from __future__ import annotations

import pytest

from distributed.messages import (
    CancelTask,
    DataAdded,
    DataDropped,
    DataScattered,
    DropData,
    ErrorInfo,
    KeyErred,
    KeyInMemory,
    KeyLost,
    KeyPending,
    ReleaseKeys,
    RetryKeys,
    RunTask,
    TaskErred,
    TaskFinished,
    TaskMissingData,
    TaskReturned,
    WantKeys,
)
from distributed.scheduler.reports import MISSED_LIMIT
from tests.unit.scheduler.desk import Desk, spec


def missing(desk: Desk, key: str, lost: str, *holders: str) -> None:
    """The task's worker could not get ``lost`` from the holders."""
    run = desk.task(key).run
    desk.report(desk.place(key), TaskMissingData(key, run, {lost: list(holders)}))


def test_a_batch_of_results_is_one_batch_to_the_client() -> None:
    desk = Desk("a:1")
    desk.submit("x", "y")
    desk.report("a:1", desk.finished("x"), desk.finished("y"))
    assert [message.key for message in desk.heard("c", KeyInMemory)] == ["x", "y"]


def test_an_exception_travels_to_all_dependents() -> None:
    desk = Desk("a:1")
    desk.submit("x", spec("y", "x"), spec("z", "y"))
    desk.err("x")
    messages = desk.heard("c", KeyErred)
    assert [message.key for message in messages] == ["x", "y", "z"]
    assert len({id(message.error) for message in messages}) == 1


def test_retries_are_used_up_one_by_one() -> None:
    desk = Desk("a:1")
    desk.submit(spec("x", retries=2))
    for _ in range(2):
        desk.err("x")
        assert desk.kind("x") == "processing"
    desk.err("x")
    assert desk.kind("x") == "erred"


def test_retries_are_all_there_again_when_a_result_has_to_be_computed_again() -> None:
    desk = Desk("a:1")
    desk.submit(spec("x", retries=1))
    desk.err("x")
    desk.finish("x")
    desk.report("a:1", DataDropped(["x"]))
    desk.err("x")
    assert desk.kind("x") == "processing"
    desk.err("x")
    assert desk.kind("x") == "erred"
    desk.client(RetryKeys(["x"]))
    desk.err("x")
    assert desk.kind("x") == "processing"


def test_results_of_one_function_keep_their_own_types() -> None:
    desk = Desk("a:1", clients="cd")
    kinds = {"x": "int", "y": "NoneType", "z": "int", "u": "str"}
    desk.submit(*kinds)
    for key, kind in kinds.items():
        desk.report("a:1", TaskFinished(key, desk.task(key).run, 8, 0.5, kind, b"7"))
    told = {message.key: message.type_name for message in desk.heard("c", KeyInMemory)}
    desk.client(WantKeys(list(kinds)), name="d")
    told_later = {message.key: message.type_name for message in desk.heard("d", KeyInMemory)}
    assert told == told_later == kinds
    desk.report("a:1", DataDropped(["y"]))
    desk.report("a:1", TaskFinished("y", desk.task("y").run, 8, 0.5, "int", b"7"))
    assert desk.task("y").type_name == "int"
    assert desk.task("y").trouble is None


@pytest.mark.parametrize("kind", [TaskFinished, TaskErred, TaskReturned, TaskMissingData])
def test_an_old_answer_changes_nothing(kind: type) -> None:
    desk = Desk("a:1")
    desk.submit("x")
    old = desk.task("x").run
    desk.report("a:1", TaskReturned("x", old))
    new = desk.task("x").run
    answers = {
        TaskFinished: TaskFinished("x", old, 8, 0.1, "int"),
        TaskErred: TaskErred("x", old, ErrorInfo("ValueError", "")),
        TaskReturned: TaskReturned("x", old),
        TaskMissingData: TaskMissingData("x", old, {}),
    }
    desk.report("a:1", answers[kind])
    assert (desk.kind("x"), desk.task("x").run) == ("processing", new)


def test_the_answer_of_another_worker_changes_nothing() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit("x")
    other = "b:1" if desk.place("x") == "a:1" else "a:1"
    desk.report(other, desk.finished("x"))
    assert desk.kind("x") == "processing"


def test_a_result_for_nobody_is_refused() -> None:
    desk = Desk("a:1")
    desk.report("a:1", TaskFinished("x", 5, 8, 0.1, "int"))
    assert desk.heard("a:1") == [CancelTask("x", 5)]


def test_a_result_told_twice_stays() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    message = desk.finished("x")
    desk.report("a:1", message, message)
    assert not desk.heard("a:1", CancelTask)
    assert desk.kind("x") == "memory"


def test_nonsense_in_numbers_does_no_harm() -> None:
    desk = Desk("a:1")
    desk.submit("x", "y")
    desk.report("a:1", TaskFinished("x", desk.task("x").run, -5, float("nan"), "int"))
    desk.report("a:1", TaskFinished("y", desk.task("y").run, 5, -1.0, "int"))
    assert desk.task("x").nbytes == 0
    assert desk.state.functions["f"].samples == 0


def test_durations_are_learned_by_function_and_move_with_the_last_ones() -> None:
    desk = Desk("a:1")
    desk.submit("x", spec("y", function="g"))
    desk.finish("x", duration_s=4.0)
    desk.finish("y", duration_s=0.0)
    assert desk.state.functions["f"].duration_s == 4.0
    assert desk.state.functions["g"].duration_s == 1e-5
    desk.submit(*[f"z{i}" for i in range(60)])
    for i in range(60):
        desk.finish(f"z{i}", duration_s=1.0)
    assert 1.0 < desk.state.functions["f"].duration_s < 1.3


def test_missing_data_is_computed_again_and_its_task_too() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(spec("x", workers=["a:1"]), spec("y", "x", workers=["b:1"]))
    desk.finish("x")
    missing(desk, "y", "x", "a:1")
    assert desk.heard("a:1", DropData) == [DropData(["x"])]
    assert (desk.kind("x"), desk.kind("y")) == ("processing", "waiting")
    assert KeyPending("x") in desk.heard("c")
    desk.finish("x", "y")
    assert desk.task("y").trouble is None


def test_only_the_holder_that_lacks_it_is_struck_off() -> None:
    desk = Desk("a:1", "b:1", "c:1")
    desk.submit(spec("x", workers=["a:1"]), spec("y", "x", workers=["c:1"]))
    desk.finish("x")
    desk.report("c:1", DataAdded({"x": 8}))
    missing(desk, "y", "x", "a:1", "gone:1")
    assert [worker.address for worker in desk.task("x").holders] == ["c:1"]
    assert desk.kind("y") == "processing"


def test_a_task_that_never_gets_its_data_fails_in_the_end() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(spec("x", workers=["a:1"]), spec("y", "x", workers=["b:1"]))
    for _ in range(MISSED_LIMIT):
        desk.finish("x")
        missing(desk, "y", "x", "a:1")
    [error] = desk.heard("c", KeyErred)
    assert error.key == "y"
    assert error.error.type_name == "distributed.errors.CommError"
    assert "could not get x from a:1" in error.error.message


def test_scattered_data_is_not_given_up_at_the_first_complaint() -> None:
    desk = Desk("a:1", "b:1")
    desk.client(DataScattered({"d": (8, ["a:1"])}))
    desk.submit(spec("y", "d", workers=["b:1"]))
    for _ in range(2):
        missing(desk, "y", "d", "a:1")
        assert desk.kind("d") == "memory"
    missing(desk, "y", "d", "a:1")
    assert desk.heard("c", KeyLost) == [KeyLost("d", ["a:1"])]
    assert desk.kind("y") == "erred"


def test_a_copy_that_was_fetched_counts() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(spec("x", workers=["a:1"]), spec("y", "x", workers=["b:1"]))
    desk.finish("x")
    desk.report("b:1", DataAdded({"x": 8}))
    desk.finish("y")
    desk.leave("a:1")
    assert desk.kind("x") == "memory"


def test_a_copy_that_nobody_asked_for_is_refused() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(spec("x", workers=["a:1"]))
    desk.finish("x")
    desk.report("b:1", DataAdded({"x": 8, "unknown": 8}))
    [drop] = desk.heard("b:1", DropData)
    assert sorted(drop.keys) == ["unknown", "x"]
    assert len(desk.task("x").holders) == 1


def test_an_old_copy_where_the_key_is_computed_anew_begins_again() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    old = desk.task("x").run
    desk.heard("a:1")
    desk.report("a:1", DataAdded({"x": 8}))
    assert [type(message) for message in desk.heard("a:1")] == [CancelTask, DropData, RunTask]
    assert desk.task("x").run > old


def test_a_dropped_result_is_computed_again_if_wanted() -> None:
    desk = Desk("a:1")
    desk.submit("x", "y")
    desk.finish("x", "y")
    desk.client(ReleaseKeys(["y"]))
    desk.report("a:1", DataDropped(["x", "y", "unknown"]))
    assert desk.kind("x") == "processing"
    assert desk.kind("y") == "unknown"


def test_a_dropped_input_stops_the_dependent_that_had_not_begun() -> None:
    desk = Desk("a:1")
    desk.submit(spec("x", workers=["a:1"]), spec("y", "x", resources={"GPU": 1.0}))
    desk.finish("x")
    assert desk.kind("y") == "queued"
    desk.report("a:1", DataDropped(["x"]))
    assert desk.kind("y") == "waiting"
