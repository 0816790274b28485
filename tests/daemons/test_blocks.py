"""Tasks that travel in blocks behave as if each had come alone; and map with a batch size."""

from __future__ import annotations

import os
import signal
import time

import pytest

from distributed.errors import CancelledError
from tests.aio import until_sync
from tests.daemons.clusterbed import process_cluster
from tests.daemons.tasks import inc

MANY = 3000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with process_cluster(tmp_path_factory.mktemp("c"), 3, "--name", "w") as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with cluster.client() as client:
        client.wait_for_workers(2, timeout_s=20.0)
        yield client


def odd_fails(number):
    if number % 2:
        raise ValueError(f"odd: {number}")
    return number


def mixed(number):
    return number if number % 3 else str(number)


def add(left, right=0, more=0):
    return left + right + more


def hold(number, folder):
    """Leave a mark, and wait until the file ``go`` is there."""
    (folder / f"{number}-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.005)
    return number


def total(*parts):
    return sum(parts)


def needs_file(path):
    return int(path.read_text() or "0")


async def coroutine(number):
    return number


def test_results_of_several_types_are_in_order(client):
    assert client.gather(client.map(mixed, range(MANY))) == [mixed(number) for number in range(MANY)]


def test_errors_are_those_of_their_own_task(client):
    futures = client.map(odd_fails, range(400))
    for number, future in enumerate(futures):
        if number % 2:
            with pytest.raises(ValueError, match=f"odd: {number}$"):
                future.result(10)
        else:
            assert future.result(10) == number


def test_the_same_calls_twice_are_one_task_each(client):
    first, second = client.map(inc, range(MANY)), client.map(inc, range(1, MANY + 1))
    assert [future.key for future in first[1:]] == [future.key for future in second[:-1]]
    assert client.gather(second) == list(range(2, MANY + 2))


def test_dependents_of_members_run(client):
    members = client.map(inc, range(100), pure=False)
    sums = client.map(add, members[::2], members[1::2])
    assert client.gather(sums, timeout=10) == [4 * number + 3 for number in range(50)]


def test_a_killed_worker_costs_nothing_but_time(client, tmp_path):
    futures = client.map(hold, range(60), [tmp_path] * 60, pure=False)
    marks = until_sync(lambda: list(tmp_path.glob("*-*")), what="a task that runs")
    os.kill(int(marks[0].name.partition("-")[2]), signal.SIGKILL)
    (tmp_path / "go").touch()
    assert client.gather(futures, timeout=20) == list(range(60))


def test_cancelled_and_released_members_do_not_run(client, tmp_path):
    futures = client.map(hold, range(60), [tmp_path] * 60, pure=False)
    until_sync(lambda: list(tmp_path.glob("*-*")), what="a task that runs")
    for future in futures[30:50]:
        future.cancel()
    del futures[50:]
    with pytest.raises(CancelledError):
        futures[40].result(10)
    client.who_has()  # an answer of the scheduler: it has heard of it by now
    (tmp_path / "go").touch()
    assert client.gather(futures[:30], timeout=20) == list(range(30))
    assert client.submit(inc, 1, pure=False).result(10) == 2
    ran = {int(path.name.partition("-")[0]) for path in tmp_path.glob("*-*")}
    assert ran.isdisjoint(range(30, 60))


def all_to_all(client, parts, count=40, function=total):
    return [client.submit(function, *parts, pure=False) for _ in range(count)]


def test_consumers_of_the_same_inputs_get_all_of_them(client):
    parts = client.map(inc, range(100), pure=False)
    assert client.gather(all_to_all(client, parts), timeout=20) == [5050] * 40


def test_a_worker_killed_under_an_all_to_all_costs_nothing_but_time(client, tmp_path):
    parts = client.map(inc, range(40), pure=False)
    slow = client.map(hold, range(2), [tmp_path] * 2, pure=False)
    sums = all_to_all(client, [*parts, *slow])
    marks = until_sync(lambda: list(tmp_path.glob("*-*")), what="a task that runs")
    os.kill(int(marks[0].name.partition("-")[2]), signal.SIGKILL)
    (tmp_path / "go").touch()
    assert client.gather(sums, timeout=20) == [821] * 40


def test_an_input_that_fails_fails_all_who_share_it_and_retry_helps(client, tmp_path):
    parts = [*client.map(inc, range(10), pure=False), client.submit(needs_file, tmp_path / "there", pure=False)]
    sums = all_to_all(client, parts)
    for future in sums:
        with pytest.raises(FileNotFoundError):
            future.result(10)
    (tmp_path / "there").touch()
    client.retry(sums)
    assert client.gather(sums, timeout=10) == [55] * 40


def test_consumers_that_are_cancelled_do_not_run_and_the_others_do(client, tmp_path):
    (held,) = client.map(hold, [0], [tmp_path], pure=False)
    sums = all_to_all(client, [*client.map(inc, range(10), pure=False), held])
    client.cancel(sums[::2])
    (tmp_path / "go").touch()
    assert client.gather(sums[1::2], timeout=10) == [55] * 20
    assert {future.status for future in sums[::2]} == {"cancelled"}


@pytest.mark.parametrize("size", [1, 7, 100, 5000])
def test_batches_hold_the_results_in_order(client, size):
    parts = client.gather(client.map(inc, range(1000), batch_size=size))
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert [value for part in parts for value in part] == list(range(1, 1001))


def test_batches_of_several_iterables_of_any_kind(client):
    futures = client.map(add, range(10), iter(range(100, 107)), batch_size=3, more=1000)
    assert client.gather(futures) == [[1100, 1102, 1104], [1106, 1108, 1110], [1112]]
    assert client.map(add, [], batch_size=3) == []


def test_futures_among_the_items_of_a_batch_become_their_results(client):
    numbers = client.map(inc, range(6))
    assert client.gather(client.map(add, numbers, range(6), batch_size=4)) == [[1, 3, 5, 7], [9, 11]]


def test_a_call_that_fails_ends_its_batch_only(client):
    first, second = client.map(odd_fails, [0, 2, 3, 4], batch_size=2)
    assert first.result(10) == [0, 2]
    with pytest.raises(ValueError, match="odd: 3"):
        second.result(10)


def test_what_a_batch_cannot_be(client):
    with pytest.raises(ValueError, match="batch_size is 1 or more, not 0"):
        client.map(inc, range(3), batch_size=0)
    with pytest.raises(TypeError, match="coroutine function"):
        client.map(coroutine, range(3), batch_size=2)


def test_the_first_tasks_are_sent_before_all_are_prepared(client, monkeypatch):
    # The loop's thread would get the interpreter's lock after 5 ms, and the cluster has nothing to do until then.
    session, sent = client.session, []
    give_way = session.give_way
    monkeypatch.setattr(session, "give_way", lambda: (give_way(), sent.append(len(session._outgoing))))
    futures = client.map(inc, range(MANY), pure=False)
    assert sent[1:] == [0, 0]  # before the second batch the first is gone, before the third the second
    assert client.gather(futures) == list(range(1, MANY + 1))
