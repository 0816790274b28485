from __future__ import annotations

from distributed.messages import AddFunction, RunTask
from distributed.scheduler.state import RANK_BITS
from tests.unit.scheduler.desk import Desk, spec


def test_the_function_comes_before_its_first_task_and_once() -> None:
    desk = Desk("a:1")
    desk.submit("x", spec("y", function="g"))
    messages = desk.heard("a:1")
    assert repr(messages) == repr(
        [
            AddFunction("f", b"code of f"),
            RunTask("x", 1, "f", b"args", 2),
            AddFunction("g", b"code of g"),
            RunTask("y", 2, "g", b"args", 4),
        ]
    )
    desk.finish("x", "y")
    desk.submit("z")
    assert [type(message) for message in desk.heard("a:1")] == [RunTask]


def test_a_message_carries_resources_and_priority() -> None:
    desk = Desk()
    desk.join("a:1", resources={"GPU": 2.0})
    desk.submit(spec("x", priority=3, resources={"GPU": 1.0}))
    [run] = desk.heard("a:1", RunTask)
    assert run.resources == {"GPU": 1.0}
    assert run.rank == 2 - (3 << RANK_BITS)


def test_workers_are_on_the_lists_their_load_earns() -> None:
    desk = Desk("a:1", nthreads=2)
    state, worker = desk.state, desk.worker("a:1")

    def lists() -> list[str]:
        return [name for name in ("vacant", "idle", "open", "rich") if worker in getattr(state, name)]

    assert lists() == ["vacant", "idle", "open"]
    desk.submit("x1")
    assert lists() == ["idle", "open"]
    desk.submit("x2")
    assert lists() == ["open"]
    desk.submit("x3")
    assert lists() == ["rich"]
