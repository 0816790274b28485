"""Clusters on this machine: they start by themselves, work, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from distributed.client import Client
from distributed.client.loops import LoopThread
from distributed.clusterfile import ClusterFile, path_of
from distributed.errors import CommError, ConfigError
from distributed.local import LocalCluster
from tests.aio import until_sync
from tests.daemons.fake_scheduler import SECRET, FakeScheduler

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # look at the environment again


def inc(x):
    return x + 1


def family(pid):
    """A process and all that it started, those of other sessions too."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def gone(processes):
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def started():
    """Processes of clusters that this process started."""
    return [p for p in family(os.getpid())[1:] if "distributed.cli" in " ".join(p.cmdline())]


def script(text, **environment):
    """Start a Python program; it prints its cluster's process ids itself."""
    return subprocess.Popen(
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def test_a_cluster_starts_works_and_leaves_nothing_behind(tmp_path):
    with LocalCluster(n_workers=2) as cluster:
        processes = started()
        assert cluster.scheduler_address.startswith("127.0.0.1:")
        assert cluster.scheduler_address in repr(cluster)
        with Client(cluster) as client:
            assert list(client.ncores().values()) == [1, 1]
            assert client.gather(client.map(inc, range(100))) == list(range(1, 101))
            client.submit(print, "a word of a task").result(20)
            until_sync(lambda: "a word of a task" in cluster.logs()["dworker"])
        mode = cluster.cluster_file.stat().st_mode
        assert mode & 0o077 == 0
    assert len(processes) >= 4
    until_sync(lambda: gone(processes))
    assert list(tmp_path.glob("dlaunch-local-*")) == []
    cluster.close()
    assert "closed" in repr(cluster)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 1 worker of 1 thread, not 0 of 1"):
        LocalCluster(0)
    with pytest.raises(ValueError, match="not 1 of 0"):
        LocalCluster(1, 0)


def test_a_cluster_that_cannot_start_says_why(monkeypatch):
    with pytest.raises(ConfigError, match=r"dworker ended with exit code [12](.|\n)*not a memory size"):
        LocalCluster(1, memory_limit="much")
    assert started() == []
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConfigError, match="dscheduler ended with exit code 1"):
        LocalCluster(1)


def test_a_cluster_that_takes_too_long_is_ended():
    with pytest.raises(ConfigError, match="was not ready in time"):
        LocalCluster(1, timeout_s=0.01)
    assert started() == []


CLIENT_WITHOUT_ADDRESS = """
import operator
from distributed import Client
if __name__ == "__main__":
    client = Client()
    print(client.submit(operator.add, 1, 2).result(30), len(client.ncores()) >= 1, flush=True)
"""


def test_a_client_without_an_address_starts_a_cluster_that_ends_with_the_program(tmp_path):
    process = script(CLIENT_WITHOUT_ADDRESS)
    out, err = process.communicate(timeout=50)
    assert (out, process.returncode, err) == ("3 True\n", 0, "")
    assert list(tmp_path.glob("dlaunch-local-*")) == []


def test_when_the_program_is_killed_the_cluster_ends():
    process = script("from distributed import Client\nclient = Client()\nprint('up', flush=True)\ninput()")
    try:
        assert process.stdout.readline() == "up\n"
        children = family(process.pid)[1:]
        assert len(children) >= 3
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    until_sync(lambda: gone(children), timeout_s=20.0)


def test_ctrl_c_ends_the_program_and_then_the_cluster():
    text = "from distributed import Client\nclient = Client()\nprint('up', flush=True)\nimport time\ntime.sleep(60)"
    process = script(text)
    assert process.stdout.readline() == "up\n"
    children = family(process.pid)[1:]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert err.rstrip().endswith("KeyboardInterrupt")
    until_sync(lambda: gone(children))


# -- which cluster is meant when none is named ---------------------------------------------------


@pytest.fixture
def publish():
    """Start small schedulers that are known by their cluster files."""
    thread, running = LoopThread("schedulers"), []

    def run(coro):
        return asyncio.run_coroutine_threadsafe(coro, thread.loop).result(10.0)

    async def begin():
        scheduler = FakeScheduler()
        await scheduler.start(0)
        return scheduler

    def start(name):
        scheduler = run(begin())
        running.append(scheduler)
        ClusterFile.new(name, ["127.0.0.1:9", scheduler.address], SECRET).write(path_of(name))
        return scheduler

    yield start
    for scheduler in running:
        run(scheduler.close())
    thread.stop()


def test_the_one_running_cluster_is_taken_and_dead_ones_are_passed_over(publish):
    ClusterFile.new("dead", ["127.0.0.1:9"]).write(path_of("dead"))
    scheduler = publish("alive")
    with Client() as client:
        assert client.scheduler_address == scheduler.address
        assert client.submit(inc, 1).result(5) == 2


def test_of_several_running_clusters_one_must_be_named(publish):
    one, _ = publish("one"), publish("two")
    with pytest.raises(ConfigError, match=r"several clusters of yours are running: (one, two|two, one)"):
        Client()
    with Client(cluster="one") as client:
        assert client.scheduler_address == one.address
    with Client("one") as client:
        assert client.scheduler_address == one.address


def test_a_named_cluster_that_is_dead_is_an_error_and_no_local_one_starts():
    ClusterFile.new("dead", ["127.0.0.1:9", "127.0.0.1:10"]).write(path_of("dead"))
    begin = time.monotonic()
    with pytest.raises(CommError, match=r"connect to 127\.0\.0\.1:9: .*; .*connect to 127\.0\.0\.1:10"):
        Client(cluster="dead", timeout_s=2.0)
    assert time.monotonic() - begin < 10
    assert started() == []
