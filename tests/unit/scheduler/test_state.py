from __future__ import annotations

import pytest

from distributed.scheduler.events import WorkerJoined
from distributed.scheduler.state import Client, Demand, State, Task, Worker


def worker(**info: object) -> Worker:
    return Worker(WorkerJoined("10.0.0.1:40", name="n7", host="node7", **info), 0.02)  # type: ignore[arg-type]


@pytest.mark.parametrize("named", ["10.0.0.1:40", "n7", "node7", "10.0.0.1"])
def test_a_worker_answers_to_address_name_and_host(named: str) -> None:
    demand = Demand(frozenset({named}))
    demand.consider(there := worker())
    assert there in demand.eligible
    assert there in demand.preferred


def test_a_stranger_is_eligible_only_if_the_restriction_is_loose() -> None:
    strict, loose = Demand(frozenset({"other"})), Demand(frozenset({"other"}), loose=True)
    for demand in (strict, loose):
        demand.consider(there := worker())
    assert not strict.eligible
    assert there in loose.eligible
    assert not loose.preferred


def test_resources_must_suffice_in_all_and_be_free_now() -> None:
    demand = Demand(resources={"GPU": 2.0})
    demand.consider(worker(resources={"GPU": 1.0}))
    demand.consider(worker())
    assert not demand.eligible
    demand.consider(there := worker(resources={"GPU": 2.0}))
    assert demand.fits(there)
    there.free["GPU"] = 1.0
    assert not demand.fits(there)


def test_rounding_does_not_lock_a_resource() -> None:
    demand = Demand(resources={"mem": 0.3})
    demand.consider(there := worker(resources={"mem": 0.3}))
    there.free["mem"] = 0.3 - 0.1 - 0.2 + 0.3
    assert there.free["mem"] < 0.3
    assert demand.fits(there)


def test_who_left_is_not_eligible() -> None:
    demand = Demand(frozenset({"n7"}))
    demand.consider(there := worker())
    demand.dismiss(there)
    assert not demand.eligible
    assert not demand.preferred
    assert not demand.fits(there)


def test_records_say_what_they_are() -> None:
    task = Task("x", None, b"", State().anything, 1)
    assert repr(task) == "<Task x: released>"
    assert repr(worker()) == "<Worker 10.0.0.1:40>"
    assert repr(Client("me")) == "<Client me>"
