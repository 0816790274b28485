from __future__ import annotations

from sys import getsizeof

from distributed.messages import (
    CancelKeys,
    CancelTask,
    DataScattered,
    DropData,
    KeyCancelled,
    KeyErred,
    KeyInMemory,
    KeyLost,
    KeyPending,
    ReleaseKeys,
    RetryKeys,
    RunTask,
    TaskFinished,
    WantKeys,
)
from distributed.scheduler.events import ClientLeft, RestartWanted
from tests.unit.scheduler.desk import Desk, spec


def test_a_result_that_nobody_wants_is_dropped_everywhere() -> None:
    desk = Desk("a:1")
    desk.submit("x", "y")
    desk.finish("x", "y")
    desk.heard("a:1")
    desk.client(ReleaseKeys(["x", "y", "unknown"]))
    [drop] = desk.heard("a:1")
    assert isinstance(drop, DropData)
    assert sorted(drop.keys) == ["x", "y"]
    assert desk.kind("x") == "unknown"


def test_tables_that_became_empty_take_no_room() -> None:
    desk = Desk("a:1")
    keys = [f"x-{number}" for number in range(500)]
    desk.submit(*keys)
    desk.finish(*keys)
    large = getsizeof(desk.state.tasks), getsizeof(desk.state.workers["a:1"].data.entries)
    desk.client(ReleaseKeys(keys[1:]))
    desk.client(ReleaseKeys(keys[:1]))
    assert getsizeof(desk.state.tasks) < large[0]
    assert getsizeof(desk.state.workers["a:1"].data.entries) < large[1]


def test_an_input_is_dropped_when_its_last_dependent_ends_but_stays_lineage() -> None:
    desk = Desk("a:1")
    desk.submit("x", spec("y", "x"))
    desk.finish("x")
    desk.client(ReleaseKeys(["x"]))
    assert desk.kind("x") == "memory"
    desk.finish("y")
    assert desk.kind("x") == "released"
    assert DropData(["x"]) in desk.heard("a:1")
    desk.client(ReleaseKeys(["y"]))
    assert not desk.state.tasks


def test_a_released_chain_as_long_as_you_like_is_forgotten() -> None:
    desk = Desk()
    desk.submit("t0", *[spec(f"t{i}", f"t{i - 1}") for i in range(1, 5000)])
    desk.client(ReleaseKeys([f"t{i}" for i in range(5000)]))
    assert not desk.state.tasks


def test_a_running_task_that_nobody_wants_is_cancelled_and_its_result_refused() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    run = desk.task("x").run
    desk.client(ReleaseKeys(["x"]))
    assert desk.heard("a:1", CancelTask) == [CancelTask("x", run)]
    desk.report("a:1", TaskFinished("x", run, 8, 0.1, "int"))
    assert desk.kind("x") == "unknown"
    assert not desk.worker("a:1").data


def test_wanting_an_unknown_key_says_so() -> None:
    desk = Desk()
    desk.client(WantKeys(["x"]))
    [message] = desk.heard("c", KeyCancelled)
    assert "does not know" in message.reason


def test_wanting_lineage_computes_it_again() -> None:
    desk = Desk("a:1", clients="cd")
    desk.submit("x", spec("y", "x"))
    desk.client(ReleaseKeys(["x"]))
    desk.finish("x", "y")
    assert desk.kind("x") == "released"
    desk.client(WantKeys(["x", "y"]), name="d")
    assert [type(message) for message in desk.heard("d")] == [KeyInMemory]
    desk.finish("x")
    assert [message.key for message in desk.heard("d", KeyInMemory)] == ["x"]


def test_cancel_takes_the_dependents_too() -> None:
    desk = Desk("a:1")
    desk.submit("x", spec("y", "x"), spec("z", "y"), "w")
    desk.client(CancelKeys(["x"]))
    assert {message.key for message in desk.heard("c", KeyCancelled)} == {"x", "y", "z"}
    assert list(desk.state.tasks) == ["w"]
    assert {message.key for message in desk.heard("a:1", CancelTask)} == {"x", "y", "z"}


def test_cancel_leaves_what_another_client_wants_unless_forced() -> None:
    desk = Desk("a:1", clients="cd")
    desk.submit("x", spec("y", "x"))
    desk.client(WantKeys(["y"]), name="d")
    desk.client(CancelKeys(["x"]))
    assert {message.key for message in desk.heard("c", KeyCancelled)} == {"x", "y"}
    assert desk.kind("x") == "processing"
    assert not desk.heard("d")
    desk.client(CancelKeys(["x"], force=True))
    assert [message.key for message in desk.heard("d", KeyCancelled)] == ["y"]
    assert not desk.state.tasks


def test_a_cancelled_key_may_be_used_again_at_once() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    old = desk.task("x").run
    desk.heard("a:1")
    desk.client(CancelKeys(["x"]))
    desk.submit("x")
    new = desk.task("x").run
    messages = desk.heard("a:1")
    assert isinstance(messages[0], CancelTask)
    desk.report("a:1", TaskFinished("x", old, 8, 0.1, "int", b"old"))
    assert desk.kind("x") == "processing"
    desk.report("a:1", TaskFinished("x", new, 8, 0.1, "int", b"new"))
    assert [m.result for m in desk.heard("c", KeyInMemory)] == [b"new"]


def test_retry_runs_the_failed_ancestors_again() -> None:
    desk = Desk("a:1")
    desk.submit("x", spec("y", "x"), spec("z", "y"))
    desk.err("x")
    assert [message.key for message in desk.heard("c", KeyErred)] == ["x", "y", "z"]
    desk.client(RetryKeys(["z"]))
    assert {message.key for message in desk.heard("c", KeyPending)} == {"x", "y", "z"}
    desk.finish("x", "y", "z")
    assert desk.kind("z") == "memory"


def test_retry_of_what_did_not_fail_says_how_it_is() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    desk.finish("x")
    desk.heard("c")
    desk.client(RetryKeys(["x", "nothing"]))
    assert [type(message) for message in desk.heard("c")] == [KeyInMemory, KeyCancelled]


def test_a_client_that_leaves_wants_nothing_any_more() -> None:
    desk = Desk("a:1", clients="cd")
    desk.submit("x", "y")
    desk.client(WantKeys(["y"]), name="d")
    desk.handle(ClientLeft("c"))
    assert list(desk.state.tasks) == ["y"]
    assert "f" in desk.state.functions
    desk.handle(ClientLeft("d"))
    assert not desk.state.tasks
    assert not desk.state.functions
    assert not desk.worker("a:1").functions


def test_scattered_data_serves_tasks_and_is_dropped_when_released() -> None:
    desk = Desk("a:1", "b:1")
    desk.client(DataScattered({"d": (100, ["a:1", "b:1", "gone:1"])}))
    assert desk.heard("c") == [KeyInMemory("d", "", 100, ["a:1", "b:1"])]
    desk.submit(spec("x", "d"))
    run = next(m for a in ("a:1", "b:1") for m in desk.heard(a, RunTask))
    assert run.dependencies == ["d"]
    assert not run.who_has, "whoever runs it has it"
    desk.finish("x")
    desk.client(ReleaseKeys(["d"]))
    assert DropData(["d"]) in desk.heard("a:1")
    assert DropData(["d"]) in desk.heard("b:1")


def test_data_scattered_to_workers_that_left_meanwhile_is_lost() -> None:
    desk = Desk("a:1")
    desk.client(DataScattered({"d": (100, ["gone:1"])}))
    assert desk.heard("c") == [KeyLost("d", ["gone:1"])]
    assert desk.kind("d") == "unknown"


def test_lost_data_may_be_scattered_again() -> None:
    desk = Desk("a:1", "b:1")
    desk.client(DataScattered({"d": (100, ["a:1"])}))
    desk.leave("a:1")
    assert KeyLost("d", ["a:1"]) in desk.heard("c")
    desk.client(DataScattered({"d": (100, ["b:1"])}))
    assert KeyInMemory("d", "", 100, ["b:1"]) in desk.heard("c")


def test_data_under_the_key_of_a_task_is_not_taken() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit("x")
    desk.client(DataScattered({"x": (100, ["b:1"])}))
    assert DropData(["x"]) in desk.heard("b:1")
    assert desk.kind("x") == "processing"


def test_data_scattered_for_a_client_that_is_gone_is_dropped() -> None:
    desk = Desk("a:1")
    desk.client(DataScattered({"d": (100, ["a:1", "gone:1"])}), name="nobody")
    assert desk.heard("a:1") == [DropData(["d"])]


def test_a_restart_cancels_everything() -> None:
    desk = Desk("a:1", "b:1", clients="cd")
    desk.submit("x", spec("y", "x"), "z")
    desk.submit("bad", name="d")
    desk.err("bad")
    desk.finish("z")
    desk.handle(RestartWanted(7))
    assert desk.answers == {7: 4}
    assert not desk.state.tasks
    reasons = {m.key: m.reason for c in "cd" for m in desk.heard(c, KeyCancelled)}
    assert reasons == dict.fromkeys(("x", "y", "z", "bad"), "restart")
    desk.submit("x")
    assert desk.kind("x") == "processing"
