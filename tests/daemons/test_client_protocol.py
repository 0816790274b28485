"""The client against a small scheduler that does what the test says."""

from __future__ import annotations

import concurrent.futures
import copy
import gc
import pickle
import threading

import numpy as np
import pytest

from distributed.client import Client, Future, as_completed, wait
from distributed.errors import (
    CancelledError,
    RequestTimeoutError,
    WorkerLostError,
)
from distributed.messages import CancelKeys, KeyCancelled, KeyLost, ReleaseKeys, SubmitTasks
from tests.aio import until_sync
from tests.daemons.clientbed import SchedulerBed, fail, inc, received
from tests.daemons.fake_scheduler import SECRET


@pytest.fixture
def bed():
    bed = SchedulerBed()
    yield bed
    bed.close()


@pytest.fixture
def scheduler(bed):
    return bed.start()


@pytest.fixture
def client(scheduler):
    with Client(scheduler.address, secret=SECRET) as client:
        yield client


@pytest.fixture
def held(bed):
    return bed.start(held=True)


@pytest.fixture
def waiting(held):
    """A client of a scheduler that runs nothing until told."""
    with Client(held.address, secret=SECRET) as client:
        yield client


# -- results -------------------------------------------------------------------------------------


def test_submit_and_result(client):
    future = client.submit(inc, 1)
    assert future.result(timeout=5) == 2
    assert (future.status, future.type, future.done()) == ("finished", "int", True)
    assert repr(future) == f"<Future: status: finished, type: int, key: {future.key}>"
    assert future.exception() is None
    assert future.traceback() is None


def test_a_client_names_its_scheduler(client, scheduler):
    assert repr(client) == f"<Client: scheduler={scheduler.address} workers=1 threads=2>"
    assert client.status == "running"
    assert client.id.startswith("Client-")


def test_equal_pure_calls_run_once_and_others_not(client, scheduler):
    one, same, other = client.submit(inc, 1), client.submit(inc, 1), client.submit(inc, 1, pure=False)
    assert client.gather([one, same, other]) == [2, 2, 2]
    assert one.key == same.key != other.key
    assert len(scheduler.specs) == 2


def test_futures_are_arguments_at_any_depth(client):
    one, two = client.submit(inc, 0), client.submit(inc, 1)
    nested = client.submit(lambda x: x["a"][0] + x["b"], {"a": [one], "b": two})
    assert nested.result(5) == 3


def test_a_task_error_keeps_type_arguments_and_remote_traceback(client, scheduler):
    future = client.submit(fail, 7)
    with pytest.raises(ValueError, match="bad") as caught:
        future.result(5)
    assert caught.value.args == ("bad", 7)
    assert "raise ValueError" in str(caught.value.__cause__)
    assert scheduler.address in str(caught.value.__cause__)
    assert isinstance(future.exception(), ValueError)
    assert future.traceback() is not None
    assert future.status == "error"


def test_a_failed_task_can_be_retried(client, scheduler):
    future = client.submit(fail, 7)
    assert future.exception(5) is not None
    scheduler.functions[next(iter(scheduler.functions))] = inc
    future.retry()
    assert future.result(5) == 8


def test_map_and_gather_keep_order_and_structure(client):
    futures = client.map(inc, range(5000))
    assert client.gather(futures) == list(range(1, 5001))
    a, b, c = futures[:3]
    assert client.gather({"x": [a, (b,)], "y": {c}, "z": 5}) == {"x": [1, (2,)], "y": {3}, "z": 5}
    assert list(client.gather(iter(futures[:3]))) == [1, 2, 3]
    assert client.gather([]) == []


def test_map_options(client, scheduler):
    futures = client.map(pow, [1, 2], [3, 4], key="power", priority=3, retries=1)
    assert all(future.key.startswith("power-") for future in futures)
    named = client.map(inc, [1, 2], key=["one", "two"], workers=[["a"], ["b"]])
    assert [future.key for future in named] == ["one", "two"]
    client.gather([*futures, *named])
    assert scheduler.specs["two"].options.workers == ["b"]
    assert scheduler.specs[futures[0].key].options.priority == 3
    with pytest.raises(ValueError, match="fewer keys"):
        client.map(inc, [1, 2], key=["one"])
    with pytest.raises(TypeError, match="at least one iterable"):
        client.map(inc)


def test_gather_raises_early_or_skips(waiting, held, bed):
    bad, good = waiting.submit(fail, 1), waiting.submit(inc, 1)
    bed.on(held.tell, held.run(until_sync(lambda: held.todo and held.todo[0])))
    with pytest.raises(ValueError, match="bad"):  # though the other one never ends
        waiting.gather([good, bad])
    bed.on(held.step)
    assert waiting.gather([good, bad], errors="skip") == [2]
    assert waiting.gather({"a": bad, "b": good}, errors="skip") == {"b": 2}
    with pytest.raises(ValueError, match="'raise' or 'skip'"):
        waiting.gather([good], errors="ignore")


def test_results_elsewhere_are_fetched(bed):
    scheduler = bed.start(inline=False)
    with Client(scheduler.address, secret=SECRET) as client:
        assert client.submit(inc, 1).result(5) == 2
        assert client.gather(client.map(inc, range(100)), timeout=5) == list(range(1, 101))
        assert scheduler.requests == ["get_data"] * 2


def test_the_scheduler_relays_what_cannot_be_reached(bed):
    scheduler = bed.start(inline=False)
    scheduler.unreachable = True
    with Client(scheduler.address, secret=SECRET) as client:
        assert client.submit(inc, 1).result(5) == 2
        assert "gather" in scheduler.requests


def test_data_that_nobody_delivers_end_as_an_error(bed):
    scheduler = bed.start(inline=False)
    with Client(scheduler.address, secret=SECRET) as client:
        future = client.submit(inc, 1)
        wait(future, timeout=5)
        bed.on(scheduler.data.clear)
        with pytest.raises(WorkerLostError, match=f"cannot fetch {future.key}"):
            future.result()


def test_a_result_that_is_computed_again_is_waited_for(bed):
    scheduler = bed.start(inline=False)
    with Client(scheduler.address, secret=SECRET) as client:
        future = client.submit(inc, 1)
        wait(future, timeout=5)
        bed.on(scheduler.lose, future.key)
        until_sync(lambda: future.status == "pending")
        timer = threading.Timer(0.05, lambda: bed.on(scheduler.step))
        timer.start()
        assert future.result(5) == 2
        timer.join()


def test_a_result_that_is_lost_as_it_is_gathered_is_waited_for_again(waiting, held, bed):
    def end_and_lose():
        held.step()
        held.lose(future.key)

    future = waiting.submit(inc, 1)
    until_sync(lambda: held.todo)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        gathered = pool.submit(waiting.gather, [future], timeout=20)
        until_sync(lambda: future._state.waiters)
        bed.on(end_and_lose)
        with pytest.raises(concurrent.futures.TimeoutError):
            gathered.result(0.2)
        bed.on(held.step)
        assert gathered.result(20) == [2]


# -- waiting -------------------------------------------------------------------------------------


def test_waiting_ends_in_time(waiting):
    future = waiting.submit(inc, 1)
    with pytest.raises(RequestTimeoutError, match=f"{future.key} has no result after 0.01 s"):
        future.result(0.01)
    with pytest.raises(TimeoutError):
        future.exception(0.01)
    with pytest.raises(RequestTimeoutError, match="1 of 1 results"):
        waiting.gather([future], timeout=0.01)
    assert wait([future], timeout=0.01) == (set(), {future})
    with pytest.raises(RequestTimeoutError, match="1 futures have not ended"):
        next(as_completed([future], timeout=0.01))


def test_wait_for_the_first(waiting, held, bed):
    futures = waiting.map(inc, range(3))
    until_sync(lambda: len(held.todo) == 3)
    bed.on(lambda: held.tell(held.run(held.todo.pop(1))))
    done, not_done = wait(futures, timeout=5, return_when="FIRST_COMPLETED")
    assert (done, not_done) == ({futures[1]}, {futures[0], futures[2]})
    bed.on(held.step)
    assert wait(futures).not_done == set()
    assert wait([]) == (set(), set())


def test_wait_for_the_first_failure(waiting, held, bed):
    good, bad, never = waiting.submit(inc, 1), waiting.submit(fail, 1), waiting.submit(inc, 2)
    until_sync(lambda: len(held.todo) == 3)
    bed.on(lambda: held.tell(*[held.run(held.todo.pop(0)) for _ in range(2)]))
    done, not_done = wait([good, bad, never], timeout=5, return_when="FIRST_EXCEPTION")
    assert bad in done
    assert not_done == {never}
    with pytest.raises(ValueError, match="return_when is"):
        wait([good], return_when="SOME")


def test_as_completed_gives_each_when_it_ends(waiting, held, bed):
    futures = waiting.map(inc, range(4))
    until_sync(lambda: len(held.todo) == 4)
    completed = as_completed([*futures, futures[2]])
    bed.on(lambda: held.tell(held.run(held.todo.pop(2))))
    assert next(completed) is futures[2]
    assert completed.next_batch() == [futures[2]]  # it was given twice
    assert (completed.count(), completed.has_ready()) == (3, False)
    bed.on(held.step)
    late = waiting.submit(inc, 99)
    completed.add(late)
    assert {next(completed) for _ in range(3)} == {futures[0], futures[1], futures[3]}
    until_sync(lambda: held.todo)
    bed.on(held.step)
    assert list(completed) == [late]
    assert completed.is_empty()
    assert list(as_completed([])) == []


def test_as_completed_with_results(client):
    futures = client.map(inc, range(5))
    assert sorted(result for _, result in as_completed(futures, with_results=True)) == [1, 2, 3, 4, 5]
    bad = client.submit(fail, 1)
    with pytest.raises(ValueError, match="bad"):
        list(as_completed([bad], with_results=True))
    [(_, error)] = as_completed([bad], with_results=True, raise_errors=False)
    assert isinstance(error, ValueError)
    batches = list(as_completed(futures, with_results=True).batches())
    assert sum(map(len, batches)) == 5


@pytest.mark.expect_log("a done-callback of <Future")
def test_done_callbacks_run_once_in_a_helper_thread(waiting, held, bed):
    seen = []
    future = waiting.submit(inc, 1)
    future.add_done_callback(lambda f: seen.append((f.result(), threading.current_thread().name)))
    future.add_done_callback(lambda f: f.no_such_method())
    until_sync(lambda: held.todo)
    assert seen == []
    bed.on(held.step)
    until_sync(lambda: seen)
    future.add_done_callback(lambda f: seen.append("late"))
    until_sync(lambda: len(seen) == 2)
    assert seen == [(2, "client-callbacks"), "late"]


# -- holding, cancelling -------------------------------------------------------------------------


def test_the_last_future_of_a_key_releases_it(client, scheduler):
    one, same = client.submit(inc, 1), client.submit(inc, 1)
    key = one.key
    one.result(5)
    del one
    gc.collect()
    assert client.submit(inc, 2).result(5) == 3
    assert not any(key in message.keys for message in received(scheduler, ReleaseKeys))
    same.release()
    until_sync(lambda: any(key in message.keys for message in received(scheduler, ReleaseKeys)))
    assert same.cancelled()


def test_cancelled_futures_say_so_at_once(waiting, held, bed):
    one, two = waiting.map(inc, range(2))
    waiting.cancel([one])
    assert one.cancelled()
    with pytest.raises(CancelledError, match=one.key):
        one.result()
    assert two.status == "pending"
    two.cancel(force=True)
    until_sync(lambda: len(received(held, CancelKeys)) == 2)
    assert [message.force for message in received(held, CancelKeys)] == [False, True]


def test_a_cancelled_key_can_be_submitted_again_at_once(waiting, held, bed):
    first = waiting.submit(inc, 1, key="x")
    first.cancel()
    second = waiting.submit(inc, 10, key="x")
    until_sync(lambda: received(held, CancelKeys) and held.todo)
    bed.on(held.step)
    assert second.result(5) == 11
    assert first.cancelled()


def test_a_released_pending_key_submitted_again_gets_its_own_result(waiting, held, bed):
    first = waiting.submit(inc, 1, key="x")
    until_sync(lambda: held.todo)

    def cross():
        """Send news of the first before anything of the second can be read here."""
        held.tell(held.run(held.todo.pop()))
        first.release()
        return waiting.submit(inc, 10, key="x")

    second = bed.on(cross)
    until_sync(lambda: held.todo)
    bed.on(held.step)
    assert second.result(5) == 11


def test_the_scheduler_cancels_with_a_reason(waiting, held, bed):
    future = waiting.submit(inc, 1)
    until_sync(lambda: held.todo)
    bed.on(held.tell, KeyCancelled(future.key, "the cluster was restarted"))
    with pytest.raises(CancelledError, match="restarted"):
        future.result(5)


def test_lost_data_raise_where_they_were(waiting, held, bed):
    future = waiting.submit(inc, 1)
    until_sync(lambda: held.todo)
    bed.on(held.tell, KeyLost(future.key, ["10.0.0.9:1"]))
    with pytest.raises(WorkerLostError, match=r"10\.0\.0\.9:1"):
        future.result(5)
    assert future.status == "lost"


def test_a_future_is_rebuilt_on_the_default_client(client):
    future = client.submit(inc, 1)
    future.result(5)
    rebuilt = pickle.loads(pickle.dumps(future))
    assert rebuilt.key == future.key
    assert rebuilt.result(5) == 2
    again = copy.copy(future)
    state = again._state
    assert (again.key, state.refs) == (future.key, 3)
    del again
    client.session.want("other")  # counts what was released until now
    assert state.refs == 2
    stranger = Future("nobody-knows-it")
    with pytest.raises(CancelledError, match="unknown here"):
        stranger.result(5)


# -- data ----------------------------------------------------------------------------------------


def test_scatter_keeps_the_form_of_its_data(client):
    one = client.scatter(5)
    listed = client.scatter([1, "a", 1])
    named = client.scatter({"x": [1, 2]})
    assert (one.type, listed[0].key == listed[2].key, named["x"].key) == ("int", True, "x")
    assert client.gather([one, listed, named]) == [5, [1, "a", 1], {"x": [1, 2]}]
    assert client.submit(sum, named["x"]).result(5) == 3
    assert client.gather(client.scatter(range(3))) == [0, 1, 2]
    with pytest.raises(TypeError, match="keys of scattered data are strings"):
        client.scatter({1: 2})


def test_equal_data_are_held_for_as_long_as_one_of_their_futures_lives(client, scheduler):
    futures = client.scatter([7, 7])
    del futures[0]
    gc.collect()
    assert client.submit(inc, 0).result(5) == 1
    assert not any(futures[0].key in message.keys for message in received(scheduler, ReleaseKeys))
    assert client.gather(futures) == [7]


def test_scatter_is_relayed_where_workers_cannot_be_reached(client, scheduler):
    scheduler.unreachable = True
    futures = client.scatter([1, 2])
    assert scheduler.requests == ["update_data", "scatter"]
    assert client.gather(futures, timeout=5) == [1, 2]


def test_arguments_that_cannot_travel_are_refused_at_once(client):
    with pytest.raises(TypeError, match="pickle"):
        client.submit(inc, threading.Lock())
    with pytest.raises(TypeError, match="needs a function"):
        client.submit(5)
    with pytest.raises(TypeError, match="a key is a string"):
        client.submit(inc, 1, key=5)
    assert client.submit(inc, 1).result(5) == 2


def test_an_array_may_be_filled_anew_right_after_submit(client):
    array, totals = np.zeros(100_000), []
    for number in range(10):
        array[:] = number
        totals.append(client.submit(np.sum, array))
    array[:] = -1
    assert client.gather(totals) == [number * 100_000 for number in range(10)]


def test_a_million_submissions_need_no_more_than_a_bounded_piece_of_the_outbox(client, scheduler):
    futures = client.map(inc, range(30_000))
    assert client.submit(inc, -1).result(20) == 0
    assert max(len(message.tasks) for message in received(scheduler, SubmitTasks)) <= 2000
    assert futures[-1].result(20) == 30_000
