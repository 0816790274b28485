from __future__ import annotations

from distributed.messages import DropData, KeyErred, KeyInMemory, KeyLost, ReleaseKeys
from distributed.scheduler.transitions import flush_drops, outbox, report
from tests.unit.scheduler.desk import Desk, spec

DEEP = 3000


def deep(desk: Desk) -> list[str]:
    keys = [f"t{i}" for i in range(DEEP)]
    specs = ["t0", *[spec(keys[i], keys[i - 1]) for i in range(1, DEEP)]]
    desk.submit(*specs)  # type: ignore[arg-type]
    return keys


def test_an_error_reaches_the_end_of_a_chain_of_any_length() -> None:
    desk = Desk("a:1")
    keys = deep(desk)
    desk.err("t0")
    assert [message.key for message in desk.heard("c", KeyErred)] == keys


def test_a_failed_task_tells_what_failed_first() -> None:
    desk = Desk("a:1")
    desk.submit("x", spec("y", "x"), spec("z", "y"))
    desk.err("x")
    trouble = desk.task("z").trouble
    assert trouble is not None
    assert trouble.blame == "x"


def test_failed_tasks_are_kept_while_something_depends_on_them() -> None:
    desk = Desk("a:1")
    desk.submit("x", spec("y", "x"))
    desk.err("x")
    desk.client(ReleaseKeys(["x"]))
    assert desk.kind("x") == "erred"
    desk.client(ReleaseKeys(["y"]))
    assert not desk.state.tasks


def test_the_inputs_of_a_failed_task_are_dropped() -> None:
    desk = Desk("a:1")
    desk.submit("x", "bad", spec("y", "x", "bad"))
    desk.client(ReleaseKeys(["x"]))
    desk.finish("x")
    desk.heard("a:1")
    desk.err("bad")
    assert desk.heard("a:1", DropData) == [DropData(["x"])]


def test_report_says_how_a_task_stands() -> None:
    desk = Desk("a:1")
    desk.submit("x", "y", "z")
    assert report(desk.task("x")) is None
    desk.finish("x")
    desk.err("y")
    assert isinstance(report(desk.task("x")), KeyInMemory)
    assert isinstance(report(desk.task("y")), KeyErred)
    trouble = desk.task("y").trouble
    assert trouble is not None
    trouble.lost = ("a:1",)
    assert report(desk.task("y")) == KeyLost("y", ["a:1"])


def test_drops_are_sent_before_what_comes_later() -> None:
    desk = Desk("a:1")
    worker = desk.worker("a:1")
    worker.drops.append("x")
    flush_drops(desk.state, worker)
    flush_drops(desk.state, worker)
    assert outbox(desk.state, worker) == [DropData(["x"])]
