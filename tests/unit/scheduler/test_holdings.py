"""What a worker is known to hold."""

from __future__ import annotations

from distributed.messages import DataAdded, DataDropped, ReleaseKeys
from tests.unit.scheduler.desk import Desk, spec


def held(desk: Desk, address: str) -> list[str]:
    return sorted(task.key for task in desk.worker(address).data)


def shared_by_both() -> Desk:
    """``x``, made at a:1, is also at b:1, where ``y`` needs it."""
    desk = Desk("a:1", "b:1")
    desk.submit(spec("x", workers=["a:1"]), spec("z", workers=["a:1"]))
    desk.finish("x", "z")
    desk.submit(spec("y", "x", workers=["b:1"]))
    desk.report("b:1", DataAdded({"x": 8}))
    assert (held(desk, "a:1"), held(desk, "b:1")) == (["x", "z"], ["x"])
    assert (len(desk.worker("a:1").data), len(desk.worker("b:1").data)) == (2, 1)
    return desk


def test_of_two_holders_each_may_go_first() -> None:
    for first, second in (("a:1", "b:1"), ("b:1", "a:1")):
        desk = shared_by_both()
        desk.report(first, DataDropped(["x"]))
        assert desk.task("x").holders is desk.worker(second).only
        assert "x" not in held(desk, first)
        assert "x" in held(desk, second)


def test_a_result_of_several_holders_is_let_go_of_by_all() -> None:
    desk = shared_by_both()
    desk.finish("y")
    desk.client(ReleaseKeys(["x", "y", "z"]))
    assert held(desk, "a:1") == held(desk, "b:1") == []
    assert (len(desk.worker("a:1").data), len(desk.worker("b:1").data)) == (0, 0)


def test_what_is_computed_again_where_it_was_counts_once() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    desk.finish("x")
    desk.report("a:1", DataDropped(["x"]))
    desk.finish("x")
    assert held(desk, "a:1") == ["x"]
    assert len(desk.worker("a:1").data) == 1
    assert len(desk.worker("a:1").data.entries) == 2


def test_what_is_lacking() -> None:
    desk = shared_by_both()
    x, y, z = (desk.task(key) for key in "xyz")
    assert desk.worker("a:1").data.lacking([x, y, z]) == [y]
    assert desk.worker("b:1").data.lacking([x, y, z]) == [y, z]


def test_old_entries_go_when_they_are_many() -> None:
    desk = Desk("a:1")
    for number in range(400):
        desk.submit(f"x{number}")
        desk.finish(f"x{number}")
        desk.client(ReleaseKeys([f"x{number}"]))
        assert len(desk.worker("a:1").data.entries) <= 66
