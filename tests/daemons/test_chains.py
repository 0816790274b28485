"""Chains of tasks, which are at one worker as a whole: they end like tasks that are sent one by one."""

from __future__ import annotations

import os
import signal
import time

import pytest

from distributed.errors import CancelledError
from tests.aio import until_sync
from tests.daemons.clusterbed import process_cluster
from tests.daemons.tasks import inc

LINKS = 40


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with process_cluster(tmp_path_factory.mktemp("c"), 3, "--name", "w") as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with cluster.client() as client:
        client.wait_for_workers(2, timeout_s=20.0)
        yield client


def fail(_):
    raise ValueError("the first link")


def note(number, folder):
    """A link that leaves a file with the process it ran in."""
    (folder / f"{number}-{os.getpid()}").touch()
    return number + 1


def hold(number, folder):
    """A link that waits until the file ``go`` is there."""
    note(number, folder)
    while not (folder / "go").exists():
        time.sleep(0.005)
    return number + 1


def chain(client, first, links=LINKS, function=inc, *args):
    futures = [first]
    for _ in range(links):
        futures.append(client.submit(function, futures[-1], *args, pure=False))
    return futures


def ran(folder, number):
    return [int(path.name.partition("-")[2]) for path in folder.glob(f"{number}-*")]


def test_results_are_in_order(client):
    futures = chain(client, client.submit(inc, 0, pure=False), 500)
    assert client.gather(futures, timeout=20) == list(range(1, 502))


def test_an_error_in_the_first_link_is_everybodys(client):
    futures = chain(client, client.submit(fail, 0, pure=False))
    for future in futures:
        with pytest.raises(ValueError, match="the first link"):
            future.result(10)


def test_a_killed_worker_costs_nothing_but_time(client, tmp_path):
    first = client.submit(note, 0, tmp_path, pure=False)
    middle = client.submit(hold, first, tmp_path, pure=False)
    futures = [first, *chain(client, middle, LINKS, note, tmp_path)]
    [pid] = until_sync(lambda: ran(tmp_path, 1), what="the link in the middle")
    os.kill(pid, signal.SIGKILL)
    (tmp_path / "go").touch()
    assert client.gather(futures, timeout=20) == list(range(1, LINKS + 3))


def test_cancel_in_the_middle_ends_the_rest_and_no_link_of_it_runs(client, tmp_path):
    first = client.submit(hold, 0, tmp_path, pure=False)
    futures = chain(client, first, LINKS, note, tmp_path)
    until_sync(lambda: ran(tmp_path, 0), what="the first link")
    futures[10].cancel()
    with pytest.raises(CancelledError):
        futures[-1].result(10)
    assert client.submit(inc, 1, pure=False).result(10) == 2  # the scheduler has heard of it by now
    (tmp_path / "go").touch()
    assert futures[9].result(10) == 10
    assert not any(ran(tmp_path, number) for number in range(10, LINKS + 1))


def test_releasing_the_links_keeps_the_last(client, tmp_path):
    futures = chain(client, client.submit(hold, 0, tmp_path, pure=False), LINKS)
    last = futures[-1]
    del futures
    (tmp_path / "go").touch()
    assert last.result(10) == LINKS + 1


def test_releasing_the_last_link_takes_the_chain_back(client, tmp_path):
    first = client.submit(hold, 0, tmp_path, pure=False)
    futures = chain(client, first, LINKS, note, tmp_path)
    until_sync(lambda: ran(tmp_path, 0), what="the first link")
    keys = [future.key for future in futures[1:]]
    futures.clear()
    until_sync(lambda: not any(client.who_has().get(key) for key in keys), what="the release")
    assert client.submit(inc, 1, pure=False).result(10) == 2
    (tmp_path / "go").touch()
    assert first.result(10) == 1
    assert not any(ran(tmp_path, number) for number in range(1, LINKS + 1))
