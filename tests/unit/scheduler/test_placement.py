from __future__ import annotations

from distributed.messages import DataScattered, Heartbeat
from distributed.scheduler.placement import (
    MOST_HOLDERS,
    addresses_of,
    choose,
    has_room,
    transfer_s,
    wait_s,
)
from tests.unit.scheduler.desk import Desk, spec


def with_data(nbytes: int, *workers: str, at: str = "a:1") -> Desk:
    desk = Desk(*workers)
    desk.client(DataScattered({"d": (nbytes, [at])}))
    return desk


def test_a_task_goes_where_its_data_is() -> None:
    for at in ("a:1", "b:1", "c:1"):
        desk = with_data(10**6, "a:1", "b:1", "c:1", at=at)
        desk.submit(spec("x", "d"))
        assert desk.place("x") == at


def test_small_data_moves_rather_than_let_a_task_wait() -> None:
    desk = with_data(1000, "a:1", "b:1")
    desk.submit(spec("x", "d"), spec("y", "d"))
    assert {desk.place("x"), desk.place("y")} == {"a:1", "b:1"}


def test_large_data_stays_and_the_tasks_wait_for_it() -> None:
    desk = with_data(10**12, "a:1", "b:1")
    desk.submit(*[spec(f"x{i}", "d") for i in range(9)])
    assert len(desk.at("a:1")) == 9


def test_the_larger_part_of_the_data_decides() -> None:
    desk = Desk("a:1", "b:1")
    sizes = {"p": (10**6, ["a:1"]), "q": (10**8, ["b:1"]), "r": (10**6, ["a:1"])}
    desk.client(DataScattered(sizes))  # type: ignore[arg-type]
    desk.submit(spec("x", "p", "q", "r"))
    assert desk.place("x") == "b:1"


def test_a_paused_holder_is_not_chosen() -> None:
    desk = with_data(10**6, "a:1", "b:1")
    desk.report("a:1", Heartbeat(0, 0, paused=True))
    desk.submit(spec("x", "d"))
    assert desk.place("x") == "b:1"


def test_a_holder_that_may_not_run_the_task_is_not_chosen() -> None:
    desk = with_data(10**6, "a:1", "b:1")
    desk.submit(spec("x", "d", workers=["b:1"]))
    assert desk.place("x") == "b:1"


def test_costs_are_the_wait_and_the_transfer() -> None:
    desk = with_data(10**8, "a:1", "b:1")
    desk.submit(spec("x", "d"))
    worker, other = desk.worker("a:1"), desk.worker("b:1")
    assert wait_s(worker) == 0.5
    assert wait_s(other) == 0.0
    assert transfer_s(desk.task("x"), worker) == 0.0
    assert 1.0 < transfer_s(desk.task("x"), other) < 1.01


def test_room_is_one_more_than_threads_or_a_short_backlog() -> None:
    desk = Desk("a:1", nthreads=2)
    desk.submit(*[f"x{i}" for i in range(10)])
    assert len(desk.at("a:1")) == 3, "durations unknown: one ahead"
    assert not has_room(desk.state, desk.worker("a:1"))
    desk.finish("x0", duration_s=0.01)
    assert len(desk.at("a:1")) == 3, "two with the unknown duration are still thought long"
    desk.finish("x1", duration_s=0.01)
    desk.finish("x2", duration_s=0.01)
    assert len(desk.at("a:1")) == 4, "0.04 s of work for two threads"


def test_of_many_holders_some_are_named_in_turn() -> None:
    desk = Desk(*[f"w{i}:1" for i in range(20)])
    desk.client(DataScattered({"d": (8, [f"w{i}:1" for i in range(20)])}))
    holders = desk.task("d").holders
    named = [addresses_of(holders, turn) for turn in range(20)]
    assert all(len(set(names)) == MOST_HOLDERS for names in named)
    assert {name for names in named for name in names} == {f"w{i}:1" for i in range(20)}
    assert addresses_of(holders[:1], 5) == ["w0:1"]


def test_choosing_among_many_dependencies_looks_at_some() -> None:
    desk = Desk("a:1", "b:1")
    desk.client(DataScattered({f"d{i}": (10**6, ["b:1"]) for i in range(500)}))
    desk.submit(spec("x", *[f"d{i}" for i in range(500)]))
    assert choose(desk.state, desk.task("x"), desk.worker("a:1")) is desk.worker("b:1")
