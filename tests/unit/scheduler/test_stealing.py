from __future__ import annotations

from distributed.messages import Heartbeat, ReleaseKeys, StealTask, TaskReturned
from tests.unit.scheduler.desk import Desk, spec


def loaded(**settings: float) -> Desk:
    """Two tasks at a:1, the second of which cannot have started, and an idle b:1."""
    desk = Desk("a:1", **settings)
    desk.submit("x", "y")
    desk.heard("a:1")
    desk.join("b:1")
    return desk


def give_back(desk: Desk, key: str) -> None:
    desk.report(desk.place(key), TaskReturned(key, desk.task(key).run))


def test_a_worker_that_joins_gets_what_waits_at_others() -> None:
    desk = loaded()
    assert desk.heard("a:1", StealTask) == [StealTask("y", desk.task("y").run)]
    assert desk.place("y") == "a:1", "until it is given back"
    give_back(desk, "y")
    assert desk.runs("b:1") == ["y"]


def test_the_victim_may_have_started_it() -> None:
    desk = loaded()
    desk.finish("x", "y")
    assert desk.kind("y") == "memory"
    assert not desk.runs("b:1")


def test_a_thief_asks_one_victim_at_a_time() -> None:
    desk = loaded()
    desk.heard("a:1")
    desk.report("b:1", Heartbeat(0, 0))
    assert not desk.heard("a:1", StealTask)


def test_half_of_the_backlog_moves() -> None:
    desk = Desk("a:1")
    desk.submit("warm")
    desk.finish("warm", duration_s=0.001)
    desk.submit(*[f"x{i}" for i in range(11)])
    assert len(desk.at("a:1")) == 11
    desk.heard("a:1")
    desk.join("b:1")
    assert {message.key for message in desk.heard("a:1", StealTask)} == {f"x{i}" for i in range(6, 11)}


def full_of_short_tasks(count: int) -> Desk:
    """One worker has that many tasks that are thought to take 10 us each."""
    desk = Desk("a:1")
    desk.submit("warm")
    desk.finish("warm", duration_s=1e-5)
    desk.submit(*[f"x{i}" for i in range(count)])
    return desk


def test_what_is_over_sooner_than_moved_stays() -> None:
    desk = full_of_short_tasks(100)
    desk.heard("a:1")
    desk.join("b:1")
    assert not desk.heard("a:1", StealTask)


def test_an_idle_worker_insists_after_a_while() -> None:
    desk = full_of_short_tasks(10)
    desk.join("b:1")
    desk.heard("a:1")
    desk.report("b:1", Heartbeat(0, 0))
    assert len(desk.heard("a:1", StealTask)) == 5


def test_a_rich_worker_that_lives_lets_the_idle_ones_insist() -> None:
    """They need not ask: who has nothing to do sends heartbeats seldom."""
    desk = full_of_short_tasks(10)
    desk.join("b:1")
    desk.join("c:1")
    desk.heard("a:1")
    desk.report("a:1", Heartbeat(1, 0))
    assert len(desk.heard("a:1", StealTask)) == 7  # 5 of 9 for one, 2 of 4 for the other
    desk.report("a:1", Heartbeat(1, 0, paused=True))
    assert not desk.heard("a:1", StealTask)


def test_a_task_that_turns_out_long_frees_those_behind_it() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit("warm")
    desk.finish("warm", duration_s=1e-5)
    desk.submit(*[spec(f"x{i}") for i in range(10)])
    desk.finish(*desk.at("b:1"), duration_s=1e-5)
    desk.heard("a:1")
    desk.finish(desk.at("a:1")[0], duration_s=60.0)
    assert desk.heard("a:1", StealTask)


def test_what_may_not_run_there_is_not_stolen() -> None:
    desk = Desk("a:1")
    desk.submit(spec("x", workers=["a:1"]), spec("y", workers=["a:1"]))
    desk.join("b:1")
    assert not desk.heard("a:1", StealTask)


def test_the_thief_dies_before_it_gets_it() -> None:
    desk = loaded()
    desk.leave("b:1")
    give_back(desk, "y")
    assert desk.place("y") == "a:1"


def test_the_victim_dies_before_it_gives_it() -> None:
    desk = loaded()
    desk.leave("a:1", expected=True)
    assert sorted(desk.at("b:1")) == ["x", "y"]


def test_an_answer_that_comes_twice_counts_once() -> None:
    desk = loaded()
    answer = TaskReturned("y", desk.task("y").run)
    desk.report("a:1", answer)
    desk.report("a:1", answer)
    assert desk.at("b:1") == ["y"]


def test_a_task_asked_back_can_be_cancelled() -> None:
    desk = loaded()
    answer = TaskReturned("y", desk.task("y").run)
    desk.client(ReleaseKeys(["y"]))
    desk.report("a:1", answer)
    assert desk.kind("y") == "unknown"
    assert not desk.at("b:1")


def test_what_waits_at_a_paused_worker_is_taken_from_it() -> None:
    desk = Desk("a:1")
    desk.submit("x", "y")
    desk.report("a:1", Heartbeat(0, 10**9, paused=True))
    desk.join("b:1")
    assert desk.heard("a:1", StealTask)
