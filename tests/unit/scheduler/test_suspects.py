from __future__ import annotations

from distributed.messages import Goodbye, Heartbeat, KeyErred, StealTask
from tests.unit.scheduler.desk import Desk, spec


def test_what_was_at_a_dead_worker_runs_alone() -> None:
    desk = Desk("a:1", "b:1", nthreads=2)
    desk.submit("x", "y", "z", "w")
    desk.leave("a:1", "a:1 was killed by signal 9")
    suspects = [key for key in "xyzw" if desk.kind(key) == "suspect"]
    assert len(suspects) == 2
    while any(desk.kind(key) == "suspect" for key in suspects):
        running = desk.at("b:1")
        if running[0] in suspects:
            assert len(running) == 1
        desk.finish(*running)
    assert desk.task("x").trouble is None or desk.kind("x") == "processing"


def test_the_killer_ends_as_killed_worker_with_the_causes_and_spares_its_neighbours() -> None:
    desk = Desk("w0:1", nthreads=3)
    desk.submit("poison", "good", "better")
    for i in range(1, 4):
        place = desk.place("poison")
        others = [key for key in desk.at(place) if key != "poison"]
        assert not others or i == 1
        desk.join(f"w{i}:1", nthreads=3)
        desk.leave(place, f"{place} died of poison")
        # The innocent ones may come first: they end, and are cleared.
        for _ in range(3):
            for key in ("good", "better"):
                if desk.kind(key) == "processing":
                    desk.finish(key)
    [message] = desk.heard("c", KeyErred)
    assert message.key == "poison"
    assert message.error.type_name == "distributed.errors.KilledWorker"
    assert message.error.data["causes"] == [f"w{i}:1 died of poison" for i in range(3)]
    assert desk.kind("good") == desk.kind("better") == "memory"


def test_who_leaves_on_purpose_makes_no_suspects() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    for expected, last in ((True, []), (False, [Goodbye("walltime")])):
        desk.report("a:1", *last)
        desk.leave("a:1", expected=expected)
        assert desk.kind("x") == "queued"
        desk.join("a:1")
    assert desk.task("x").trouble is None


def test_an_exception_is_an_alibi() -> None:
    desk = Desk("a:1")
    desk.submit(spec("x", retries=1))
    desk.leave("a:1")
    desk.join("a:1")
    desk.err("x")
    assert desk.task("x").trouble is not None
    assert not desk.task("x").trouble.deaths


def test_a_busy_worker_is_emptied_for_a_suspect() -> None:
    desk = Desk("a:1")
    desk.submit(spec("x", workers=["a:1", "b:1"]))
    desk.join("b:1", nthreads=2)
    desk.submit(*[spec(f"y{i}", workers=["b:1"]) for i in range(6)])
    desk.leave("a:1")
    assert desk.kind("x") == "suspect"
    assert [message.key for message in desk.heard("b:1", StealTask)] == [desk.at("b:1")[2]]
    desk.finish(*desk.at("b:1"))
    assert desk.at("b:1") == ["x"]
    desk.finish("x")
    assert len(desk.at("b:1")) == 3


def test_half_of_the_workers_stay_with_the_others() -> None:
    desk = Desk("a:1", nthreads=8)
    desk.submit(*[f"s{i}" for i in range(8)])
    for i in range(6):
        desk.join(f"w{i}:1")
    desk.leave("a:1")
    desk.submit(*[f"x{i}" for i in range(6)])
    alone = [worker.alone for worker in desk.state.workers.values() if worker.alone]
    assert len(alone) == 3
    assert desk.kind("x0") == "processing"


def test_suspects_keep_to_their_restrictions() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(spec("x", workers=["a:1"]))
    desk.leave("a:1")
    assert desk.kind("x") == "suspect"
    assert not desk.state.reserved
    desk.join("a:1")
    assert desk.at("a:1") == ["x"]


def test_a_worker_that_runs_short_of_memory_is_not_waited_for() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    desk.join("b:1")
    desk.submit("y", "z")
    desk.leave("a:1")
    desk.report("b:1", Heartbeat(0, 10**9, paused=True))
    assert not desk.state.reserved
    desk.join("c:1")
    assert "x" in desk.at("c:1")


def test_a_suspect_waits_for_its_inputs_to_be_computed_again() -> None:
    desk = Desk("a:1")
    desk.submit("x", spec("y", "x"))
    desk.finish("x")
    desk.leave("a:1")
    assert desk.kind("y") == "waiting"
    desk.join("b:1")
    desk.finish("x")
    worker = desk.worker("b:1")
    assert worker.alone is desk.task("y")
