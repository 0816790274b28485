from __future__ import annotations

import pytest

from distributed.messages import Heartbeat
from tests.unit.scheduler.desk import Desk, spec


def counts(desk: Desk) -> dict[str, int]:
    return {address: len(desk.at(address)) for address in desk.state.workers}


def test_free_threads_are_filled_first_and_evenly() -> None:
    desk = Desk("a:1", "b:1", "c:1", nthreads=4)
    desk.submit(*[f"x{i}" for i in range(6)])
    assert counts(desk) == {"a:1": 2, "b:1": 2, "c:1": 2}


def test_one_task_is_sent_ahead_and_the_rest_stays_here() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(*[f"x{i}" for i in range(10)])
    assert counts(desk) == {"a:1": 2, "b:1": 2}
    assert desk.state.anything.queue.live == 6


def test_short_tasks_are_sent_many_at_a_time() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(*[f"x{i}" for i in range(10_000)])
    for address in ("a:1", "b:1"):
        desk.finish(*desk.at(address), duration_s=1e-5)
    assert all(1000 < count <= 2000 for count in counts(desk).values()), counts(desk)
    assert desk.state.anything.queue.live > 5000


def test_few_short_tasks_are_spread() -> None:
    desk = Desk("a:1", "b:1", "c:1", "d:1")
    desk.submit("warm")
    desk.finish("warm", duration_s=1e-5)
    desk.submit(*[f"x{i}" for i in range(40)])
    assert sorted(counts(desk).values()) == [4, 12, 12, 12]


@pytest.mark.parametrize(
    ("duration_s", "number", "bundle"),
    [(1e-5, 300, 34), (1e-5, 10_000, 200), (1e-4, 200, 8), (5e-4, 200, 4), (5e-4, 6_000, 20), (1.0, 200, 1)],
)
def test_tasks_that_are_over_sooner_than_told_go_in_bundles(duration_s: float, number: int, bundle: int) -> None:
    """Though others have nothing to do: a message for each would take longer."""
    desk = Desk(*[f"10.0.0.{i}:1" for i in range(400)])
    desk.submit("warm")
    desk.finish("warm", duration_s=duration_s)
    desk.submit(*[f"x{i}" for i in range(number)])
    assert max(counts(desk).values()) == bundle
    assert sum(counts(desk).values()) == number


def test_of_what_nothing_is_known_each_gets_one() -> None:
    desk = Desk(*[f"10.0.0.{i}:1" for i in range(200)])
    desk.submit(*[f"x{i}" for i in range(200)])
    assert set(counts(desk).values()) == {1}


def test_a_worker_that_joins_gets_what_waits() -> None:
    desk = Desk()
    desk.submit("x", spec("y", workers=["b:1"]), spec("z", resources={"GPU": 1.0}))
    desk.join("a:1")
    assert desk.at("a:1") == ["x"]
    desk.join("b:1")
    assert desk.at("b:1") == ["y"]
    desk.join("c:1", resources={"GPU": 1.0})
    assert desk.at("c:1") == ["z"]


@pytest.mark.parametrize("named", ["b:1", "bob", "host-b"])
def test_restrictions_hold(named: str) -> None:
    desk = Desk("a:1")
    desk.join("b:1", name="bob", host="host-b")
    desk.submit(*[spec(f"x{i}", workers=[named]) for i in range(6)])
    assert counts(desk) == {"a:1": 0, "b:1": 2}
    desk.finish("x0", "x1")
    assert desk.at("b:1") == ["x2", "x3"]


def test_a_preference_is_followed_while_there_is_room() -> None:
    desk = Desk("a:1", "b:1")
    options = {"workers": ["b:1"], "allow_other_workers": True}
    desk.submit(spec("x", **options), spec("y", **options))
    assert desk.at("b:1") == ["x", "y"]
    desk.submit(spec("z", **options))
    assert desk.at("a:1") == ["z"]


def test_a_preference_for_nobody_is_none() -> None:
    desk = Desk("a:1")
    desk.submit(spec("x", workers=["gone"], allow_other_workers=True))
    assert desk.at("a:1") == ["x"]


def test_resources_are_never_promised_twice() -> None:
    desk = Desk()
    desk.join("a:1", nthreads=8, resources={"GPU": 2.0})
    desk.submit(*[spec(f"x{i}", resources={"GPU": 1.0}) for i in range(5)], "y")
    assert desk.at("a:1") == ["x0", "x1", "y"]
    desk.finish("x0")
    assert desk.at("a:1") == ["x1", "y", "x2"]
    desk.err("x1")
    assert desk.at("a:1") == ["y", "x2", "x3"]


def test_special_tasks_and_others_go_by_rank() -> None:
    desk = Desk("a:1", prefetch_tasks=0)
    desk.submit("run", "ahead")
    desk.submit("x0", spec("y", workers=["a:1"], priority=1), "x1")
    desk.submit(spec("z", workers=["a:1"]))
    order = []
    for _ in range(6):
        order.append(key := desk.at("a:1")[0])
        desk.finish(key)
    assert order == ["run", "ahead", "y", "x0", "x1", "z"]


def test_one_blocked_class_does_not_hold_up_the_others() -> None:
    desk = Desk("a:1")
    desk.submit(*[spec(f"b{i}", workers=["nowhere"]) for i in range(100)], "x")
    assert desk.at("a:1") == ["x"]
    assert desk.kind("b0") == "queued"


def test_a_paused_worker_gets_nothing_until_it_recovers() -> None:
    desk = Desk("a:1")
    desk.report("a:1", Heartbeat(0, 10**9, paused=True))
    desk.submit("x")
    assert desk.kind("x") == "queued"
    desk.report("a:1", Heartbeat(0, 10**6, paused=False))
    assert desk.at("a:1") == ["x"]


def test_thousand_workers_get_one_each() -> None:
    desk = Desk()
    machine = desk.machine
    for i in range(300):
        desk.join(f"w{i}:1")
    desk.submit(*[f"x{i}" for i in range(300)])
    assert set(counts(desk).values()) == {1}
    assert not machine.state.anything.queue.live
