"""Tasks that come, go and end as columns of one message."""

from __future__ import annotations

from typing import Any

from distributed.messages import (
    BlockFinished,
    CancelKeys,
    CancelTask,
    KeyCancelled,
    KeyInMemory,
    KeysInMemory,
    Message,
    ReleaseKeys,
    RunBlock,
    RunTask,
    SubmitBlock,
    WantKeys,
)
from distributed.scheduler import events
from distributed.scheduler.invariants import validate
from tests.unit.scheduler.desk import Desk, spec


def block(*keys: str, function: str = "f", known: bool = False) -> SubmitBlock:
    return SubmitBlock(function, list(keys), [b"args"] * len(keys), {} if known else {function: b"code"})


def said(desk: Desk, event: Any, kind: type[Message] | tuple[type[Message], ...]) -> list[Any]:
    """The messages that an event causes, as they are sent."""
    actions = desk.machine.handle(event)
    validate(desk.state)
    return [message for action in actions for message in action.messages if isinstance(message, kind)]


def submitted(desk: Desk, message: Message) -> list[Any]:
    return said(desk, events.ClientMessages("c", [message]), (RunBlock, RunTask))


def finished(desk: Desk, *keys: str, duration_s: float = 0.5) -> BlockFinished:
    runs = [desk.task(key).run for key in keys]
    return BlockFinished("int", duration_s, list(keys), runs, [8] * len(keys), [b"7"] * len(keys))


def test_tasks_of_one_function_go_as_one_block_with_runs_in_a_row() -> None:
    desk = Desk("a:1", nthreads=3)
    [run] = submitted(desk, block("x", "y", "z"))
    assert run == RunBlock("f", 1, ["x", "y", "z"], [b"args"] * 3, [2, 2, 2])
    assert [desk.task(key).run for key in "xyz"] == [1, 2, 3]
    assert desk.at("a:1") == ["x", "y", "z"]


def test_each_function_has_its_block_and_one_task_is_no_block() -> None:
    desk = Desk(nthreads=5)
    for message in (block("x", "y"), block("u", "v", function="g"), block("w", known=True)):
        assert not submitted(desk, message)
    sent = said(desk, events.WorkerJoined("a:1", nthreads=5), (RunBlock, RunTask))
    assert [(message.function, message.keys) for message in sent[:2]] == [("f", ["x", "y"]), ("g", ["u", "v"])]
    assert [(message.function, message.key) for message in sent[2:]] == [("f", "w")]
    assert isinstance(submitted(Desk("a:1"), block("x"))[0], RunTask)


def test_what_is_known_is_only_wanted_and_keys_of_an_unknown_function_are_refused() -> None:
    desk = Desk("a:1", nthreads=4, clients="cd")
    desk.client(block("x"))
    desk.client(block("x", "y"), name="d")
    assert [client.id for client in desk.task("x").wanters] == ["c", "d"]
    assert [client.id for client in desk.task("y").wanters] == ["d"]
    desk.client(block("u", "v", function="never", known=True))
    assert [message.key for message in desk.heard("c", KeyCancelled)] == ["u", "v"]


def test_results_are_told_in_one_message_to_those_who_want_them() -> None:
    desk = Desk("a:1", nthreads=4, clients="cd")
    desk.client(block("x", "y", "z"))
    desk.client(WantKeys(["z"]), name="d")
    sent = said(desk, events.WorkerMessages("a:1", [finished(desk, "x", "y", "z")]), (KeysInMemory, KeyInMemory))
    both = KeyInMemory("z", "int", 8, ["a:1"], b"7")
    assert sent == [KeysInMemory("int", ["a:1"], ["x", "y"], [8, 8], [b"7", b"7"]), both, both]


def test_what_is_stale_in_a_block_changes_nothing_else_of_it() -> None:
    desk = Desk("a:1", nthreads=4)
    desk.client(block("x", "y", "z"))
    message = finished(desk, "x", "y", "z")
    desk.client(CancelKeys(["y"]))
    desk.heard("a:1")
    desk.report("a:1", message, message)
    assert [message.key for message in desk.heard("c", KeyInMemory)] == ["x", "z"]
    assert desk.heard("a:1") == [CancelTask("y", message.runs[1])] * 2


def test_the_duration_of_a_block_is_that_of_all_its_tasks() -> None:
    desk = Desk("a:1", nthreads=4)
    desk.client(block("x", "y"), block("u", "v", function="g"))
    desk.report("a:1", finished(desk, "x", "u", "y", "v", duration_s=8.0))
    assert [desk.state.functions[name].duration_s for name in "fg"] == [2.0, 2.0]
    assert desk.state.functions["f"].samples == 2


def test_members_lead_fail_and_are_released_like_others() -> None:
    desk = Desk("a:1", nthreads=3)
    desk.client(block("x", "y", "z"))
    desk.submit(spec("after", "y"))
    assert desk.kind("after") == "ahead"
    desk.err("x")
    desk.report("a:1", finished(desk, "y", "z"))
    assert [desk.kind(key) for key in ("x", "y", "z", "after")] == ["erred", "memory", "memory", "processing"]
    desk.client(ReleaseKeys(["x", "y", "z"]))
    assert list(desk.state.tasks) == ["y", "after"]
    assert [task.key for task in desk.worker("a:1").data] == ["y"]


def test_what_is_begun_of_a_block_is_finished_before_more_of_it_is_begun() -> None:
    desk = Desk("a:1", prefetch_tasks=0)
    desk.client(block("x0", "x1", "x2", "x3"))
    desk.submit(*[spec(f"y{i}", f"x{i}") for i in range(4)], spec("z", "y1", "y3"))
    order = []
    while desk.at("a:1"):
        order.append(key := desk.at("a:1")[0])
        desk.finish(key)
    # One task is always ahead of the one that runs.
    assert order == ["x0", "x1", "y0", "y1", "x2", "x3", "y2", "y3", "z"]


def test_the_tasks_of_a_block_share_their_place_and_keep_their_order() -> None:
    desk = Desk("a:1", prefetch_tasks=0)
    keys = [f"x{i}" for i in range(9)]
    desk.client(block(*keys), block("later", known=True))
    assert len({id(desk.task(key).rank) for key in keys}) == 1
    assert desk.task("later").rank > desk.task("x0").rank
    order = []
    while desk.at("a:1"):
        order.append(key := desk.at("a:1")[0])
        desk.finish(key)
    assert order == [*keys, "later"]
