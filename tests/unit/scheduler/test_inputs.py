"""Tasks that depend on the very same: what happens to a dependency is counted once for all of them."""

from __future__ import annotations

from distributed.messages import (
    DataDropped,
    Heartbeat,
    KeyCancelled,
    KeyErred,
    ReleaseKeys,
    RetryKeys,
    RunBlock,
    RunTask,
    SubmitBlock,
)
from distributed.scheduler import events
from distributed.scheduler.invariants import validate
from tests.unit.scheduler.desk import Desk, spec


def consumers(*keys: str, needs: tuple[str, ...] = ("a", "b"), function: str = "g") -> SubmitBlock:
    return SubmitBlock(function, list(keys), [b"args"] * len(keys), {function: b"code"}, list(needs))


def all_to_all(*workers: str, nthreads: int = 1) -> Desk:
    desk = Desk(*workers, nthreads=nthreads)
    desk.submit("a", "b")
    desk.client(consumers("x", "y", "z"))
    return desk


def test_a_block_and_single_tasks_of_the_same_inputs_share_them() -> None:
    desk = all_to_all()
    desk.submit(spec("w", "a", "b"))
    inputs = desk.task("x").inputs
    assert inputs is not None
    assert [task.key for task in inputs.users] == ["x", "y", "z", "w"]
    assert (inputs.active, inputs.missing) == (4, 2)
    assert desk.task("a").dependents == desk.task("b").dependents == {inputs: None}
    desk.submit(spec("v", "b", "a"), spec("u", "b"))
    assert inputs not in (desk.task("v").inputs, desk.task("u").inputs)
    assert desk.task("b").needs == 3


def test_all_that_share_are_ready_when_the_last_input_is_there_and_go_as_a_block() -> None:
    desk = all_to_all("a:1", nthreads=4)
    desk.finish("a")
    assert [desk.kind(key) for key in "xyz"] == ["waiting"] * 3
    actions = desk.machine.handle(events.WorkerMessages("a:1", [desk.finished("b")]))
    validate(desk.state)
    sent = [message for action in actions for message in action.messages]
    [run] = [message for message in sent if isinstance(message, RunTask | RunBlock)]
    assert (run.keys, run.dependencies, run.who_has) == (["x", "y", "z"], ["a", "b"], {})
    assert [desk.task(key).run for key in "xyz"] == [run.run, run.run + 1, run.run + 2]


def test_where_things_lie_is_told_once_in_the_block() -> None:
    desk = Desk("a:1", "b:1", nthreads=2)
    desk.submit(spec("a", workers=["a:1"]), spec("b", workers=["b:1"]))
    desk.finish("a", "b")
    actions = desk.machine.handle(events.ClientMessages("c", [consumers("x", "y", "z", "w")]))
    validate(desk.state)
    blocks = {a.address: m for a in actions for m in a.messages if isinstance(m, RunBlock)}
    assert blocks["a:1"].who_has == {"b": ["b:1"]}
    assert blocks["b:1"].who_has == {"a": ["a:1"]}
    assert blocks["a:1"].nbytes == {"b": 8}


def test_a_lost_input_is_waited_for_by_all_that_have_not_started() -> None:
    desk = all_to_all("a:1")
    desk.finish("a", "b")
    queued = [key for key in "xyz" if desk.kind(key) == "queued"]
    assert queued
    desk.report("a:1", DataDropped(["a", "b"]))
    assert [desk.kind(key) for key in queued] == ["waiting"] * len(queued)
    inputs = desk.task("x").inputs
    assert inputs is not None
    assert inputs.missing == 2
    desk.finish("x", "y", "a", "b")
    desk.finish("z")
    assert [desk.kind(key) for key in "xyz"] == ["memory"] * 3


def test_a_failed_input_fails_all_and_retry_brings_all_back() -> None:
    desk = all_to_all("a:1")
    desk.err("a")
    assert {message.key for message in desk.heard("c", KeyErred)} == {"a", "x", "y", "z"}
    assert desk.task("b").needs == 0
    desk.submit(spec("late", "a", "b"))
    assert desk.kind("late") == "erred"
    desk.client(RetryKeys(["x", "y"]))
    assert [desk.kind(key) for key in "xyz"] == ["waiting", "waiting", "erred"]
    assert desk.task("b").needs == 1


def test_inputs_are_forgotten_with_the_last_who_shares_them() -> None:
    desk = all_to_all("a:1")
    desk.client(ReleaseKeys(["a", "b", "x", "y"]))
    assert list(desk.state.tasks) == ["a", "b", "z"]
    desk.client(ReleaseKeys(["z"]))
    assert not desk.state.tasks


def test_a_block_whose_inputs_are_unknown_is_refused_and_a_known_key_only_wanted() -> None:
    desk = Desk()
    desk.client(consumers("x", "y", needs=("nobody-knows",)))
    assert [message.key for message in desk.heard("c", KeyCancelled)] == ["x", "y"]
    desk.submit("a", "b")
    desk.client(consumers("x", "a", "x"))
    assert list(desk.state.tasks) == ["a", "b", "x"]
    desk.client(SubmitBlock("never", ["u"], [b""], {}, ["a"]))
    assert desk.heard("c", KeyCancelled)[-1].key == "u"


def test_a_task_that_was_queued_twice_is_handed_out_once() -> None:
    desk = Desk("a:1", nthreads=3)
    desk.submit("q", "r1", "r2", "r3", "p", spec("w", "p", "q"))
    desk.report("a:1", Heartbeat(3, 0, paused=True))
    desk.err("q")
    desk.finish("r1", "r2", "r3")
    desk.client(ReleaseKeys(["p"]))  # kept for w, but not needed now
    assert [desk.kind(key) for key in ("p", "w")] == ["released", "erred"]
    desk.client(RetryKeys(["w"]))
    assert [task.key for task in desk.state.anything.queue.entries()].count("p") == 2
    desk.report("a:1", Heartbeat(0, 0))
    assert sorted(desk.at("a:1")) == ["p", "q"]
