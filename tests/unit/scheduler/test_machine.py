from __future__ import annotations

from typing import Any

import pytest

from distributed.errors import RemoteProtocolError
from distributed.messages import (
    Heartbeat,
    KeyErred,
    ReleaseKeys,
    Request,
    SubmitTasks,
    TaskFinished,
    WantKeys,
)
from distributed.scheduler import queries
from distributed.scheduler.actions import Answer, ToClient, ToWorker
from distributed.scheduler.events import (
    ClientJoined,
    ClientLeft,
    ClientMessages,
    RestartWanted,
    WorkerJoined,
    WorkerLeft,
    WorkerMessages,
)
from distributed.scheduler.machine import SchedulerMachine
from tests.unit.scheduler.desk import Desk, spec


@pytest.mark.parametrize("wrong", [Request("identity"), Heartbeat(0, 0), KeyErred("x", None)])  # type: ignore[arg-type]
def test_what_a_client_must_not_send_changes_nothing(wrong: Any) -> None:
    desk = Desk("a:1")
    with pytest.raises(RemoteProtocolError, match=f"client does not send {type(wrong).__name__}"):
        desk.client(SubmitTasks([spec("x")], {"f": b""}), wrong)
    assert desk.kind("x") == "unknown"
    assert not desk.said.get("a:1")


@pytest.mark.parametrize("wrong", [Request("identity"), WantKeys(["x"])])
def test_what_a_worker_must_not_send_changes_nothing(wrong: Any) -> None:
    desk = Desk("a:1")
    desk.submit("x")
    with pytest.raises(RemoteProtocolError, match=f"worker does not send {type(wrong).__name__}"):
        desk.report("a:1", desk.finished("x"), wrong)
    assert desk.kind("x") == "processing"


def test_strangers_are_not_listened_to() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    run = desk.task("x").run
    desk.report("b:1", TaskFinished("x", run, 8, 0.1, "int"))
    desk.client(ReleaseKeys(["x"]), name="nobody")
    desk.handle(ClientLeft("nobody"))
    assert desk.kind("x") == "processing"


def test_each_peer_gets_one_batch_for_each_event() -> None:
    machine = SchedulerMachine()
    machine.handle(ClientJoined("c"))
    machine.handle(WorkerJoined("a:1"))
    actions = machine.handle(ClientMessages("c", [SubmitTasks([spec("x"), spec("y", "nothing")], {"f": b""})]))
    assert [type(action) for action in actions] == [ToClient, ToWorker]


def test_nothing_is_said_to_who_is_gone() -> None:
    machine = SchedulerMachine()
    machine.handle(ClientJoined("c"))
    machine.handle(WorkerJoined("a:1"))
    machine.handle(ClientMessages("c", [SubmitTasks([spec("x")], {"f": b""})]))
    assert machine.handle(WorkerLeft("a:1", "gone", True)) == []
    machine.handle(WorkerJoined("b:1"))
    actions = machine.handle(ClientLeft("c"))
    assert [type(action) for action in actions] == [ToWorker]


def test_a_client_that_joins_twice_starts_anew() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    desk.handle(ClientJoined("c"))
    assert desk.kind("x") == "unknown"


def test_answers_come_last() -> None:
    machine = SchedulerMachine()
    machine.handle(ClientJoined("c"))
    machine.handle(ClientMessages("c", [SubmitTasks([spec("x")], {"f": b""})]))
    actions = machine.handle(RestartWanted(5))
    assert isinstance(actions[0], ToClient)
    assert actions[1] == Answer(5, 1)


def test_messages_given_away_are_not_touched_later() -> None:
    desk = Desk("a:1")
    desk.submit("x", spec("y", "x"))
    desk.finish("x")
    said = [*desk.said["a:1"], *desk.said["c"]]
    before = repr(said)
    desk.finish("y")
    desk.leave("a:1")
    assert repr(said) == before


def test_the_number_of_allowed_failures_is_a_setting() -> None:
    desk = Desk("a:1", allowed_failures=1)
    desk.submit("x")
    desk.leave("a:1", "a:1 exploded")
    [error] = desk.heard("c", KeyErred)
    assert error.error.data == {"key": "x", "causes": ["a:1 exploded"]}


def test_a_flood_of_unknown_keys_is_ignored() -> None:
    desk = Desk("a:1")
    desk.handle(WorkerMessages("a:1", [TaskFinished(f"k{i}", i, 8, 0.1, "int") for i in range(1000)]))
    assert queries.counts(desk.state) == {}
