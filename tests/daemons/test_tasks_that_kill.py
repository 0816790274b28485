"""Tasks that end the process they run in: their caller learns how, their neighbours do not suffer."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

import pytest

from distributed.errors import KilledWorker
from tests.aio import until_sync
from tests.daemons.clusterbed import process_cluster
from tests.daemons.tasks import inc, nap

WORKERS = 8


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with process_cluster(tmp_path_factory.mktemp("c"), WORKERS, "--name", "w") as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with cluster.client() as client:
        # A worker that died often waits a while before it starts again: the others will do.
        client.wait_for_workers(WORKERS // 2, timeout_s=10.0)
        yield client


def segfault():
    ctypes.string_at(0)


def leave():
    os._exit(0)


def leave_as_if_the_scheduler_were_gone():
    os._exit(3)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("poison", "cause"),
    [
        (segfault, "killed by signal 11 (SIGSEGV)"),
        (leave, "exit code 0"),
        (leave_as_if_the_scheduler_were_gone, "exit code 3"),
        (kill, "killed by signal 9 (SIGKILL)"),
    ],
)
def test_a_task_that_kills_is_given_up_with_the_causes_and_its_neighbours_finish(client, poison, cause):
    neighbours = client.map(nap, range(30), pure=False)
    future = client.submit(poison, pure=False)
    after = client.submit(inc, future)
    more = client.map(nap, range(30), pure=False)
    error = future.exception(timeout=15)
    assert isinstance(error, KilledWorker)
    assert len(error.causes) == 3
    for line in error.causes:
        assert cause in line
        assert "w-" in line  # whose end it was
    with pytest.raises(KilledWorker):
        after.result(10)
    assert client.gather(neighbours + more, timeout=15) == [*range(30), *range(30)]


def test_whoever_survives_its_third_worker_is_innocent(client, tmp_path):
    def kill_twice(path):
        with path.open("a") as log:
            log.write("x")
        if len(path.read_text()) < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    assert client.submit(kill_twice, tmp_path / "tries").result(15) == "done"


def test_a_task_that_closes_every_descriptor_costs_no_worker_for_good(client):
    def close_all():
        os.closerange(0, 4096)

    future = client.submit(close_all, pure=False)
    others = client.map(nap, range(20), pure=False)
    assert client.gather(others, timeout=15) == list(range(20))
    error = future.exception(timeout=15)
    assert isinstance(error, KilledWorker)
    assert "a task has closed the descriptors" in str(error)


PROGRAM = """
import sys, time
from pathlib import Path
from distributed import Client

def nap(path):
    path.touch()
    time.sleep(0.3)

client = Client(cluster_file=sys.argv[1])
futures = client.map(nap, [Path(sys.argv[2]) / str(n) for n in range(40)])
print("submitted", flush=True)
time.sleep(60)
"""


def test_what_a_dead_client_wanted_is_forgotten(cluster, client, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(cluster.file), str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "submitted\n"
        until_sync(lambda: list(tmp_path.iterdir()), what="a task that has started")
        process.kill()
    until_sync(lambda: client.scheduler_info()["clients"] == 1)
    assert client.submit(inc, 1, pure=False).result(10) == 2
    until_sync(lambda: client.who_has() == {} and not any(client.has_what().values()))
    assert len(list(tmp_path.iterdir())) < 40
