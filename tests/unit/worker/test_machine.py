"""The worker's decisions, one at a time."""

from __future__ import annotations

from sys import getsizeof

import pytest

from distributed.errors import RemoteProtocolError
from distributed.messages import (
    AddFunction,
    BlockFinished,
    CancelTask,
    DataAdded,
    DataDropped,
    DropData,
    ErrorInfo,
    FetchData,
    FetchFailed,
    Goodbye,
    Heartbeat,
    Request,
    RunBlock,
    SetHeartbeat,
    StealTask,
    SubmitTasks,
    TaskErred,
    TaskFinished,
    TaskMissingData,
    TaskReturned,
)
from distributed.worker import actions, events
from tests.unit.worker.driver import HERE, THERE, YONDER, Driver, done, executes, fetches, of, sent, task


@pytest.fixture
def worker():
    return Driver()


def test_ready_tasks_of_a_batch_are_given_to_the_executor_at_once(worker):
    found = worker.told(AddFunction("f", b"p"), task("a"), task("b"))
    assert [type(a) for a in found] == [actions.LearnFunctions, actions.Execute]
    assert executes(found) == ["a", "b"]
    assert found[0].functions == {"f": b"p"}


def block(*keys, run=1):
    return RunBlock("f", run, list(keys), [b""] * len(keys), list(range(len(keys))))


def test_a_block_becomes_tasks_of_their_own(worker):
    [execute] = worker.told(block("a", "b", run=5))
    assert [(t.key, t.run, t.rank) for t in execute.tasks] == [("a", 5, 0), ("b", 6, 1)]
    assert [type(a) for a in worker.told(StealTask("b", 6))] == [actions.Withdraw]


def test_a_block_that_comes_twice_or_brings_a_newer_run_is_looked_at_task_by_task(worker):
    worker.told(block("a", "b"))
    assert worker.told(block("a", "b")) == []
    execute, withdraw = worker.told(block("c", "b", run=3))
    assert [(t.key, t.run) for t in execute.tasks] == [("c", 3), ("b", 4)]
    assert [(t.key, t.run) for t in withdraw.tasks] == [("b", 2)]


def alike(*keys, run=1, needs=("x", "y"), who_has=None):
    """A block of tasks with the same dependencies."""
    columns = [b""] * len(keys), list(range(len(keys)))
    return RunBlock("f", run, list(keys), *columns, list(needs), who_has or {}, dict.fromkeys(who_has or (), 8))


def test_tasks_that_need_the_same_wait_together_and_start_together(worker):
    found = worker.told(alike("a", "b", "c", who_has={"x": ["p:1"], "y": ["p:1"]}))
    assert fetches(found) == [("p:1", ["x", "y"])]
    assert worker.told(StealTask("b", 2)) == [actions.SendScheduler([TaskReturned("b", 2)])]
    found = worker.handle(events.Fetched("p:1", {"x": 8, "y": 8}, {"x": 1, "y": 2}))
    assert [(t.key, t.run, t.dependencies) for t in of(found, actions.Execute)[0].tasks] == [
        ("a", 1, ["x", "y"]),
        ("c", 3, ["x", "y"]),
    ]


def test_tasks_that_need_what_is_here_run_at_once(worker):
    worker.handle(events.DataReceived({"x": 8, "y": 8}, {"x": 1, "y": 2}))
    assert executes(worker.told(alike("a", "b"))) == ["a", "b"]


def test_when_what_several_wait_for_does_not_come_each_is_given_back(worker):
    worker.told(alike("a", "b", who_has={"x": ["p:1"], "y": ["q:1"]}))
    gone = {"x": ["p:1"]}
    found = worker.handle(events.PeerFailed("p:1"))
    assert sent(found) == [TaskMissingData("a", 1, gone), TaskMissingData("b", 2, gone)]
    assert not worker.machine.waiting
    assert not worker.machine.fetches.wants
    nowhere = {"x": [HERE], "y": [HERE]}
    assert sent(worker.told(alike("c", "d"))) == [TaskMissingData("c", 1, nowhere), TaskMissingData("d", 2, nowhere)]


def test_who_waits_for_a_task_that_leaves_is_given_back_though_others_wait_with_it(worker):
    worker.told(task("x"), task("y"), alike("a", "b", "c"))
    worker.told(CancelTask("b", 2))
    worker.told(StealTask("x", 1))
    found = worker.handle(events.Withdrawn([worker.machine.active["x"]]))
    assert {message.key for message in sent(found)} == {"x", "a", "c"}
    assert not worker.machine.waiting


def test_the_last_who_waits_takes_the_wish_for_data_along(worker):
    worker.told(alike("a", "b", who_has={"x": ["p:1"], "y": ["p:1"]}))
    worker.told(CancelTask("a", 1))
    assert list(worker.machine.fetches.wants) == ["x", "y"]
    worker.told(CancelTask("b", 2))
    assert not worker.machine.fetches.wants


def test_a_block_at_a_closing_worker_is_given_back(worker):
    worker.handle(events.Closing("bye"))
    assert sent(worker.told(block("a", "b"))) == [TaskReturned("a", 1), TaskReturned("b", 2)]


def test_results_of_two_types_and_errors_keep_their_order(worker):
    tasks = [task(key) for key in "abcde"]
    worker.told(*tasks)
    outcomes = [done(one) for one in tasks]
    outcomes[1] = tasks[1], TaskErred("b", 1, ErrorInfo("E", "m")), None
    outcomes[4] = tasks[4], TaskFinished("e", 1, 8, 0.1, "str", b"e"), "e"
    messages = sent(worker.executed(*outcomes))
    assert [type(message) for message in messages] == [TaskFinished, TaskErred, BlockFinished, TaskFinished]
    assert messages[2].keys == ["c", "d"]


def test_the_time_of_one_function_is_not_told_as_that_of_another(worker):
    short, more, long = task("a"), task("b"), task("c")
    long.function = "g"
    worker.told(short, more, long)
    one, other = sent(worker.executed(done(short), done(more), done(long)))
    assert (one.keys, other.key) == (["a", "b"], "c")


def test_results_are_kept_and_reported_in_one_message_batch(worker):
    a, b = task("a"), task("b")
    worker.told(a, b)
    [send] = worker.executed(done(a, 10), done(b, 20))
    assert send.messages == [BlockFinished("int", 0.2, ["a", "b"], [1, 1], [10, 20], [b"1", b"1"])]
    assert worker.held == {"a": (1, 10, 1), "b": (1, 20, 1)}


def test_a_task_waits_for_the_copy_of_its_dependency(worker):
    found = worker.told(task("b", needs={"a": [THERE]}, nbytes={"a": 100}))
    assert not executes(found)
    assert fetches(found) == [(THERE, ["a"])]
    found = worker.handle(events.Fetched(THERE, {"a": 100}, {"a": "value"}))
    assert [type(x) for x in found] == [actions.Execute, actions.SendScheduler]
    assert sent(found) == [DataAdded({"a": 100})]
    assert executes(found) == ["b"]
    assert worker.held == {"a": ("value", 100, 0)}


def test_a_dependent_sent_ahead_starts_when_its_dependency_ends(worker):
    a, b = task("a"), task("b", needs={"a": []})
    assert executes(worker.told(a, b)) == ["a"]
    assert executes(worker.executed(done(a))) == ["b"]


def test_a_dependency_that_is_nowhere_gives_the_task_back(worker):
    found = worker.told(task("b", needs={"a": [HERE], "c": [THERE]}))
    assert sent(found) == [TaskMissingData("b", 1, {"a": [HERE]})]
    assert not fetches(found)


def test_holders_are_tried_in_turn_and_then_the_task_is_given_back(worker):
    worker.told(task("b", needs={"a": [THERE, YONDER]}))
    found = worker.handle(events.PeerFailed(THERE))
    assert fetches(found) == [(YONDER, ["a"])]
    found = worker.handle(events.Fetched(YONDER, {}, {}))
    assert sent(found) == [TaskMissingData("b", 1, {"a": [THERE, YONDER]})]


def test_a_failed_dependency_gives_its_dependents_back_in_a_chain(worker):
    a = task("a")
    worker.told(a, task("b", needs={"a": []}), task("c", needs={"b": []}))
    found = worker.executed((a, TaskMissingData("a", 1, {}), None))
    assert [m.key for m in sent(found)] == ["a"]
    [withdraw] = of(found, actions.Withdraw)
    assert [task.key for task in withdraw.tasks] == ["b", "c"]
    assert [m.key for m in sent(worker.handle(events.Withdrawn(withdraw.tasks)))] == ["b", "c"]
    assert not worker.machine.active


def test_what_waits_for_a_failed_task_and_for_another_is_given_back(worker):
    a, other = task("a"), task("x")
    worker.told(a, other, task("b", needs={"a": [], "x": []}), task("c", needs={"b": []}))
    found = worker.executed((a, TaskMissingData("a", 1, {}), None))
    assert [m.key for m in sent(found)] == ["a", "b", "c"]
    assert not worker.machine.waiting


def test_a_stolen_dependency_is_fetched_for_its_dependent_where_it_can_be(worker):
    a, b = task("a"), task("b", needs={"a": [THERE]})
    worker.told(a, b)
    assert of(worker.told(StealTask("a", 1)), actions.Withdraw) == [actions.Withdraw([a])]
    found = worker.handle(events.Withdrawn([a]))
    assert sent(found) == [TaskReturned("a", 1)]
    assert fetches(found) == [(THERE, ["a"])]


def test_a_waiting_task_is_stolen_at_once_and_its_fetch_forgotten(worker):
    worker.told(task("b", needs={"a": [THERE]}))
    assert sent(worker.told(StealTask("b", 1))) == [TaskReturned("b", 1)]
    assert sent(worker.handle(events.Fetched(THERE, {"a": 1}, {"a": 1}))) == []
    assert not worker.machine.held


def test_a_steal_that_comes_late_or_for_another_run_is_not_answered(worker):
    a = task("a", run=5)
    worker.told(a)
    assert worker.told(StealTask("a", 4)) == []
    worker.executed(done(a))
    assert worker.told(StealTask("a", 5)) == []


def test_a_cancelled_run_is_withdrawn_and_its_late_end_ignored(worker):
    a = task("a")
    worker.told(a)
    assert of(worker.told(CancelTask("a", 1)), actions.Withdraw)
    assert worker.executed(done(a)) == []
    assert not worker.machine.held
    assert not worker.machine.abandoned


def test_the_result_of_a_cancelled_run_is_dropped(worker):
    a = task("a")
    worker.told(a)
    worker.executed(done(a))
    assert worker.told(CancelTask("a", 2)) == []
    assert worker.told(CancelTask("a", 1)) == [actions.Drop(["a"])]


def test_a_newer_run_takes_the_place_of_an_older_one(worker):
    old, new = task("a", run=1), task("a", run=7)
    worker.told(old)
    found = worker.told(new)
    assert executes(found) == ["a"]
    assert of(found, actions.Withdraw) == [actions.Withdraw([old])]
    assert worker.executed(done(old)) == []
    assert [m.run for m in sent(worker.executed(done(new)))] == [7]


def test_duplicates_and_late_copies_of_a_task_are_ignored(worker):
    worker.told(task("a", run=3))
    assert worker.told(task("a", run=3), task("a", run=2)) == []


def test_dropped_data_leaves_the_store(worker):
    a = task("a")
    worker.told(a)
    worker.executed(done(a))
    assert worker.told(DropData(["a", "unknown"])) == [actions.Drop(["a"])]
    assert not worker.machine.held


def test_a_store_that_became_empty_takes_no_room(worker):
    tasks = [task(f"a-{number}") for number in range(500)]
    worker.told(*tasks)
    worker.executed(*map(done, tasks))
    worker.told(DropData([task.key for task in tasks[1:]]))
    large = getsizeof(worker.machine.held)
    worker.told(DropData(["a-0"]))
    assert getsizeof(worker.machine.held) < large


def test_copies_asked_for_are_fetched_and_reported(worker):
    found = worker.told(FetchData({"a": [THERE], "b": [HERE], "c": []}))
    assert fetches(found) == [(THERE, ["a"])]
    assert sent(found) == [FetchFailed({"b": [HERE], "c": []})]
    found = worker.handle(events.Fetched(THERE, {"a": 9}, {"a": 1}))
    assert sent(found) == [DataAdded({"a": 9})]
    assert sent(worker.told(FetchData({"a": [THERE]}))) == [DataAdded({"a": 9})]


def test_copies_that_cannot_be_had_are_reported(worker):
    worker.told(FetchData({"a": [THERE]}))
    assert sent(worker.handle(events.PeerFailed(THERE))) == [FetchFailed({"a": [THERE]})]


def test_a_copy_asked_for_of_what_is_computed_here_waits_for_that(worker):
    a = task("a")
    worker.told(a)
    assert worker.told(FetchData({"a": []})) == []
    assert sent(worker.executed(done(a, 3)))[-1] == DataAdded({"a": 3})


def test_a_fetch_given_up_by_the_scheduler_is_forgotten(worker):
    worker.told(FetchData({"a": [THERE]}))
    worker.told(DropData(["a"]))
    assert worker.handle(events.Fetched(THERE, {"a": 1}, {"a": 1})) == []


def test_scattered_data_is_kept_without_telling_the_scheduler(worker):
    worker.told(task("b", needs={"a": [THERE]}))
    found = worker.handle(events.DataReceived({"a": 4}, {"a": 1}))
    assert executes(found) == ["b"]
    assert not sent(found)


def test_data_deleted_by_others_is_reported(worker):
    worker.handle(events.DataReceived({"a": 4}, {"a": 1}))
    found = worker.handle(events.DataDeleted(["a", "b"]))
    assert sent(found) == [DataDropped(["a"])]


def test_tasks_share_resources_by_rank(worker):
    worker = Driver(resources={"GPU": 1})
    first, low, high = (
        task("first", resources={"GPU": 1}),
        task("low", rank=9, resources={"GPU": 1}),
        task("high", rank=1, resources={"GPU": 1}),
    )
    assert executes(worker.told(first, low, high)) == ["first"]
    assert executes(worker.executed(done(first))) == ["high"]
    assert sent(worker.told(StealTask("low", 1))) == [TaskReturned("low", 1)]
    assert executes(worker.executed(done(high))) == []


def test_a_cancelled_task_holds_its_resource_until_its_thread_is_done():
    worker = Driver(resources={"GPU": 1})
    running, waiting = task("a", resources={"GPU": 1}), task("b", resources={"GPU": 1})
    worker.told(running, waiting)
    assert not executes(worker.told(CancelTask("a", 1)))
    assert executes(worker.executed(done(running))) == ["b"]


def test_memory_pauses_with_hysteresis_and_stops_fetching():
    worker = Driver(memory_limit=1000)
    found = worker.handle(events.MemoryMeasured(900, 2))
    assert of(found, actions.Pause)
    assert sent(found) == [Heartbeat(2, 900, True)]
    assert not fetches(worker.told(task("b", needs={"a": [THERE]})))
    assert not of(worker.handle(events.MemoryMeasured(800, 0)), actions.Resume)
    found = worker.handle(events.MemoryMeasured(700, 0))
    assert of(found, actions.Resume)
    assert fetches(found) == [(THERE, ["a"])]


def test_what_has_not_changed_is_told_only_when_it_is_due():
    worker = Driver(memory_limit=1000)
    assert worker.handle(events.MemoryMeasured(100, 1, due=False)) == []
    assert sent(worker.handle(events.MemoryMeasured(100, 1, due=True))) == [Heartbeat(1, 100, False)]
    assert sent(worker.handle(events.MemoryMeasured(900, 1, due=False))) == [Heartbeat(1, 900, True)]
    # While it is paused, the scheduler needs to know how many of its tasks have started.
    assert sent(worker.handle(events.MemoryMeasured(900, 0, due=False))) == [Heartbeat(0, 900, True)]
    assert sent(worker.handle(events.MemoryMeasured(100, 0, due=False))) == [Heartbeat(0, 100, False)]
    assert worker.handle(events.MemoryMeasured(100, 0, due=False)) == []


def test_the_scheduler_says_how_often_it_wants_heartbeats(worker):
    assert worker.told(SetHeartbeat(50.0)) == [actions.Beat(50.0)]


def test_without_a_limit_memory_never_pauses(worker):
    assert worker.handle(events.MemoryMeasured(10**15, 0)) == [actions.SendScheduler([Heartbeat(0, 10**15, False)])]


def test_closing_returns_what_has_not_started_and_says_goodbye_last(worker):
    a = task("a")
    follower = task("c", needs={"a": []})
    worker.told(a, follower)
    b = task("b", needs={"x": [THERE]})
    worker.told(b)
    found = worker.handle(events.Closing("walltime"))
    assert sent(found) == [TaskReturned("b", 1), Goodbye("walltime")]
    assert of(found, actions.Withdraw) == [actions.Withdraw([a, follower])]
    assert [type(x) for x in found] == [actions.Withdraw, actions.SendScheduler]
    assert sent(worker.handle(events.Withdrawn([a, follower]))) == [TaskReturned("a", 1), TaskReturned("c", 1)]
    assert sent(worker.told(task("d"))) == [TaskReturned("d", 1)]


def test_a_lost_scheduler_empties_the_desk_but_not_the_store(worker):
    a, b = task("a"), task("b")
    worker.told(a)
    worker.executed(done(a))
    worker.told(b, task("c", needs={"x": [THERE]}), FetchData({"y": [THERE]}))
    found = worker.handle(events.SchedulerLost())
    assert of(found, actions.Withdraw) == [actions.Withdraw([b])]
    assert not worker.machine.active
    assert not worker.machine.waiting
    assert worker.held == {"a": (1, 8, 1)}
    assert worker.executed(done(b)) == []


def test_another_scheduler_finds_an_empty_store(worker):
    a = task("a")
    worker.told(a)
    worker.executed(done(a))
    assert worker.handle(events.SchedulerChanged()) == [actions.Drop(["a"])]
    # The new scheduler's numbers start again: an old end of the same key and run is not its task's.
    again = task("a")
    worker.told(again)
    assert worker.executed(done(a)) == []
    assert sent(worker.executed(done(again)))


def test_requests_and_goodbyes_of_the_scheduler_are_passed_on(worker):
    request = Request("ping", {}, 4)
    assert worker.told(request, Goodbye("scaled down")) == [
        actions.Answer(request),
        actions.Leave("scaled down"),
    ]


def test_a_message_that_no_scheduler_sends_is_refused(worker):
    with pytest.raises(RemoteProtocolError, match="SubmitTasks"):
        worker.told(SubmitTasks([]))


def test_a_copy_that_fails_while_its_key_is_computed_here_waits_for_that(worker):
    worker.told(task("b", needs={"a": [THERE]}))
    a = task("a")
    worker.told(a)
    assert worker.handle(events.PeerFailed(THERE)) == []
    assert executes(worker.executed(done(a))) == ["b"]


def test_a_new_run_that_cannot_start_releases_those_who_waited_for_it(worker):
    worker.told(task("a", needs={"x": [THERE]}), task("b", needs={"a": []}))
    found = worker.told(task("a", run=2, needs={"y": []}))
    assert sent(found) == [
        TaskMissingData("a", 2, {"y": [HERE]}),
        TaskMissingData("b", 1, {"a": []}),
    ]


def test_a_long_chain_is_given_back_without_recursion(worker):
    links = [task("0")] + [task(str(n), needs={str(n - 1): []}) for n in range(1, 3000)]
    worker.machine.handle(events.SchedulerMessages(list(links)))
    found = worker.machine.handle(events.Executed([(links[0], TaskMissingData("0", 1, {}), None)]))
    assert of(found, actions.Withdraw) == [actions.Withdraw(links[1:])]
    assert len(sent(worker.machine.handle(events.Withdrawn(links[1:])))) == 2999
