from __future__ import annotations

import pytest

from distributed.messages import (
    CancelTask,
    DataScattered,
    DropData,
    KeyErred,
    KeyInMemory,
    KeyLost,
    KeyPending,
    ReleaseKeys,
    TaskFinished,
)
from distributed.scheduler import comings
from tests.unit.scheduler.desk import Desk, spec


def chain(desk: Desk, length: int = 4) -> list[str]:
    """t0 <- t1 <- ..., all finished, only the last one wanted."""
    keys = [f"t{i}" for i in range(length)]
    desk.submit("t0", *[spec(keys[i], keys[i - 1]) for i in range(1, length)])
    desk.client(ReleaseKeys(keys[:-1]))
    desk.finish(*keys)
    desk.heard("c")
    return keys


def test_a_lost_result_is_computed_again_with_all_that_led_to_it() -> None:
    desk = Desk("a:1")
    keys = chain(desk)
    desk.join("b:1")
    desk.leave("a:1")
    assert [desk.kind(key) for key in keys] == ["processing", *["ahead"] * 3]
    assert desk.heard("c") == [KeyPending("t3")]
    desk.finish(*keys)
    assert [desk.kind(key) for key in keys] == [*["released"] * 3, "memory"]
    assert [message.key for message in desk.heard("c", KeyInMemory)] == ["t3"]


def test_only_what_is_lost_is_computed_again() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(spec("x", workers=["a:1"]), spec("y", "x", workers=["b:1"]))
    desk.finish("x", "y")
    desk.leave("b:1")
    desk.join("b:1")
    assert (desk.kind("x"), desk.kind("y")) == ("memory", "processing")


def test_a_lost_result_that_nobody_needs_is_not_computed() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit("x")
    desk.finish("x")
    desk.client(ReleaseKeys(["x"]))
    desk.leave("a:1")
    desk.leave("b:1")
    assert not desk.state.tasks


def test_a_task_that_waits_in_the_queue_waits_for_its_lost_input_again() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(spec("x", workers=["a:1"]), spec("y", "x", resources={"GPU": 1.0}))
    desk.finish("x")
    desk.leave("a:1")
    assert desk.kind("y") == "waiting"
    assert desk.kind("x") == "queued"


def test_lost_scattered_data_fails_what_depends_on_it() -> None:
    desk = Desk("a:1")
    desk.client(DataScattered({"d": (8, ["a:1"])}))
    desk.submit(spec("x", "d"), spec("y", "x"))
    desk.leave("a:1")
    assert desk.heard("c", KeyLost) == [KeyLost("d", ["a:1"])]
    desk.submit(spec("z", "d"))
    errors = desk.heard("c")
    assert errors
    assert {desk.kind(key) for key in "xyz"} == {"erred"}
    for key in "xyz":
        trouble = desk.task(key).trouble
        assert trouble is not None
        assert trouble.error is not None
        assert trouble.error.type_name == "distributed.errors.WorkerLostError"
        assert trouble.error.data == {"key": "d", "workers": ["a:1"]}


def test_what_was_made_from_released_data_cannot_be_made_again() -> None:
    desk = Desk("a:1")
    desk.client(DataScattered({"d": (8, ["a:1"])}))
    desk.submit(spec("x", "d"))
    desk.finish("x")
    desk.client(ReleaseKeys(["d"]))
    assert desk.kind("d") == "released"
    desk.leave("a:1")
    [error] = desk.heard("c", KeyErred)
    assert error.key == "x"
    assert "has been released" in error.error.message


def test_a_worker_that_comes_back_brings_its_results() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(spec("x", workers=["a:1"]), spec("y", workers=["a:1"]))
    desk.finish("x", "y")
    desk.leave("a:1")
    assert desk.kind("x") == "queued"
    desk.join("a:1", data={"x": 8, "y": 8, "other": 5})
    assert desk.kind("x") == desk.kind("y") == "memory"
    assert DropData(["other"]) in desk.heard("a:1")
    assert [m.key for m in desk.heard("c", KeyInMemory)] == ["x", "y"] * 2


def test_what_comes_back_stops_the_second_run() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit("x")
    first = desk.place("x")
    desk.finish("x")
    desk.leave(first)
    second, run = desk.place("x"), desk.task("x").run
    desk.join(first, data={"x": 8})
    assert CancelTask("x", run) in desk.heard(second)
    assert [worker.address for worker in desk.task("x").holders] == [first]
    desk.report(second, TaskFinished("x", run, 8, 0.1, "int"))
    assert [worker.address for worker in desk.task("x").holders] == [first]


def test_lost_data_that_comes_back_is_found() -> None:
    desk = Desk("a:1")
    desk.client(DataScattered({"d": (8, ["a:1"])}))
    desk.leave("a:1")
    desk.join("a:1", data={"d": 8})
    assert [type(message) for message in desk.heard("c")] == [KeyInMemory, KeyLost, KeyInMemory]


def test_the_same_key_may_mean_another_task_by_now() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(spec("x", workers=["a:1"]))
    desk.finish("x")
    desk.leave("a:1")
    desk.client(ReleaseKeys(["x"]))
    desk.submit(spec("x", workers=["b:1"]))
    desk.join("a:1", data={"x": 8})
    assert desk.heard("a:1", DropData) == [DropData(["x"])]
    assert desk.kind("x") == "processing"


def test_who_had_what_is_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(*[f"w{i}:1" for i in range(4)])
    monkeypatch.setattr(comings, "MOST_REMEMBERED", 2)
    desk.submit(*[spec(f"x{i}", workers=[f"w{i}:1"]) for i in range(4)])
    desk.finish(*[f"x{i}" for i in range(4)])
    for i in range(4):
        desk.leave(f"w{i}:1")
    assert list(desk.state.departed) == ["w2:1", "w3:1"]


def test_a_new_worker_at_the_address_of_a_dead_one() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    old = desk.task("x").run
    desk.join("a:1")
    assert desk.task("x").run > old
    trouble = desk.task("x").trouble
    assert trouble is not None
    assert "registered at its address" in trouble.deaths[0].reason


def test_the_end_of_a_stranger_is_nothing() -> None:
    desk = Desk("a:1")
    desk.leave("b:1")
    assert list(desk.state.workers) == ["a:1"]
