from __future__ import annotations

from distributed.messages import DataScattered, Heartbeat, ReleaseKeys
from distributed.scheduler import queries
from tests.unit.scheduler.desk import Desk, spec


def test_who_has_and_has_what_are_two_sides_of_one_thing() -> None:
    desk = Desk("a:1", "b:1")
    desk.client(DataScattered({"d": (5, ["a:1", "b:1"]), "e": (7, ["b:1"])}))
    state = desk.state
    assert queries.who_has(state) == {"d": ["a:1", "b:1"], "e": ["b:1"]}
    assert queries.who_has(state, ["e", "unknown"]) == {"e": ["b:1"], "unknown": []}
    assert queries.has_what(state) == {"a:1": ["d"], "b:1": ["e", "d"]}
    assert queries.has_what(state, ["a:1", "gone:1"]) == {"a:1": ["d"]}
    assert queries.nbytes(state) == {"d": 5, "e": 7}
    assert queries.nbytes(state, ["e", "unknown"]) == {"e": 7}


def test_threads_tasks_and_counts() -> None:
    desk = Desk("a:1", nthreads=3)
    desk.submit("x", "y", spec("z", "x"))
    desk.finish("y")
    assert queries.ncores(desk.state) == {"a:1": 3}
    assert queries.ncores(desk.state, ["gone:1"]) == {}
    assert queries.processing(desk.state) == {"a:1": ["x", "z"]}
    assert queries.counts(desk.state) == {"ahead": 1, "processing": 1, "memory": 1}


def why(desk: Desk, key: str = "x") -> str:
    return queries.why(desk.state, key)


def test_why_of_a_task_without_workers() -> None:
    desk = Desk()
    desk.submit("x")
    assert why(desk) == "x waits for workers: there are none"


def test_why_of_a_task_that_no_worker_can_run() -> None:
    desk = Desk("a:1")
    desk.submit(spec("x", resources={"GPU": 2.0}), spec("y", workers=["nowhere"]))
    desk.submit(spec("z", resources={"GPU": 2.0}, workers=["nowhere"]))
    assert why(desk) == "x waits: none of 1 workers has GPU 2"
    assert why(desk, "y") == "y waits: none of 1 workers is nowhere"
    assert why(desk, "z") == "z waits: none of 1 workers is nowhere and has GPU 2"


def test_why_of_a_task_whose_resource_is_in_use() -> None:
    desk = Desk()
    desk.join("a:1", nthreads=4, resources={"GPU": 1.0})
    desk.submit(spec("y", resources={"GPU": 1.0}), spec("x", resources={"GPU": 1.0}))
    assert why(desk) == "x waits until GPU is free at one of 1 workers"


def test_why_of_a_task_that_waits_for_others() -> None:
    desk = Desk("a:1")
    desk.submit(*"pqrs", spec("x", *"pqrs"), spec("y", "x"))
    assert why(desk) == "x waits for 4 dependencies: p, q, r and 1 more"
    assert why(desk, "y") == "y waits for 1 dependency: x"


def test_why_of_a_task_at_its_worker_or_in_the_queue() -> None:
    desk = Desk()
    desk.join("a:1", name="ann")
    desk.submit("x", "y", "z")
    assert why(desk) == "x was handed to ann (a:1), which can run it now"
    assert why(desk, "y") == "y waits at ann (a:1) behind 1 other tasks"
    assert why(desk, "z") == "z waits in the queue with 0 other tasks for one of 1 busy workers"
    desk.report("a:1", Heartbeat(1, 10**9, paused=True))
    assert why(desk) == "x waits at ann (a:1), which starts no task because it is short of memory"
    assert "are short of memory or leaving" in why(desk, "z")


def test_why_of_a_suspect() -> None:
    desk = Desk("a:1", "b:1")
    desk.submit(*[f"y{i}" for i in range(4)])
    desk.leave("a:1", "a:1 was killed by signal 9")
    [key, *_] = [f"y{i}" for i in range(4) if desk.kind(f"y{i}") == "suspect"]
    assert why(desk, key) == (
        f"{key} waits for a worker of its own, because a worker that had it died (a:1 was killed by signal 9)"
    )


def test_why_of_what_has_ended() -> None:
    desk = Desk("a:1")
    desk.client(DataScattered({"d": (8, ["a:1"])}))
    desk.submit("x", "bad", spec("y", "bad"), spec("z", "x"))
    desk.finish("x")
    assert why(desk) == "x is in memory at a:1"
    desk.err("bad")
    assert why(desk, "bad") == "bad failed with ValueError: from bad"
    assert why(desk, "y") == "y failed because bad, which it depends on, raised ValueError"
    assert why(desk, "nothing") == "nothing is not known to this scheduler"
    desk.finish("z")
    desk.client(ReleaseKeys(["x"]))
    assert why(desk) == "x is released: nobody needs its result now"
    desk.leave("a:1")
    assert why(desk, "d").startswith("d is lost: d was scattered to a:1")
