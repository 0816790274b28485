"""Processes that are stopped, stuck or have wrong clocks are not dead."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from pathlib import Path

from distributed import comm
from distributed.scheduler import liveness
from tests.aio import until_sync
from tests.daemons.clusterbed import process_cluster
from tests.daemons.nannybed import family

PAUSE_S = liveness.HEARTBEAT_S + 2.0
LOST = re.compile(r"WARNING|ERROR|lost|silent|Traceback")


def hold_the_interpreters_lock(seconds: float) -> str:
    ctypes.PyDLL(None).sleep(int(seconds))  # PyDLL does not let the lock go, as much compiled code does
    return "held"


def wait_for_file(path: str) -> str:
    while not os.path.exists(path):
        time.sleep(0.05)
    return "waited"


def test_suspended_and_stuck_workers_keep_place_and_data(tmp_path):
    """For longer than a heartbeat; how much longer it may be is a number, see below."""
    with process_cluster(tmp_path) as cluster, cluster.client() as client:
        stuck = cluster.dworker("--name", "stuck")
        asleep = cluster.dworker("--name", "asleep")
        client.wait_for_workers(2, timeout_s=20)
        before = client.ncores()
        kept = client.submit(bytes, 2_000_000, workers=["asleep"], pure=False)
        assert client.submit(len, kept).result(timeout=20) == 2_000_000
        held = client.submit(hold_the_interpreters_lock, PAUSE_S, workers=["stuck"])
        family_of_it = [asleep.pid, *family(asleep.pid)]
        for pid in family_of_it:
            os.kill(pid, signal.SIGSTOP)
        try:
            assert held.result(timeout=PAUSE_S + 15) == "held"
        finally:
            for pid in family_of_it:
                os.kill(pid, signal.SIGCONT)
        assert len(kept.result(timeout=20)) == 2_000_000
        assert client.submit(os.getpid, workers=["asleep"], pure=False).result(timeout=20) in family_of_it
        assert client.ncores() == before
        assert not LOST.search(cluster.log("scheduler"))
        assert stuck.poll() is None


def test_a_suspended_scheduler_comes_back_to_all_its_peers(tmp_path):
    with process_cluster(tmp_path, 2) as cluster, cluster.client() as client:
        flag = tmp_path / "flag"
        future = client.submit(wait_for_file, str(flag))
        until_sync(lambda: future.status == "pending")
        os.kill(cluster.scheduler.pid, signal.SIGSTOP)
        try:
            flag.touch()
            time.sleep(3)  # the length of the pause itself
        finally:
            os.kill(cluster.scheduler.pid, signal.SIGCONT)
        assert future.result(timeout=20) == "waited"
        assert client.gather(client.map(abs, range(-50, 0))) == list(range(50, 0, -1))
        assert len(client.ncores()) == 2
        assert not LOST.search(cluster.log("scheduler"))
        assert not LOST.search(cluster.log("worker"))


def test_silence_is_borne_for_minutes():
    """A lock held for a minute, a virtual machine moved elsewhere, a network file system that hangs."""
    assert liveness.SILENCE_S >= 300
    assert comm._KEEPALIVE["TCP_USER_TIMEOUT"] >= 300_000


def test_clocks_that_are_days_apart_do_no_harm(tmp_path, monkeypatch):
    (tmp_path / "skewed").mkdir()
    (tmp_path / "skewed" / "sitecustomize.py").write_text(
        "import os, time\n"
        "real, ahead = time.time, float(os.environ.get('AHEAD_S', 0))\n"
        "time.time = lambda: real() + ahead\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "skewed"))
    with process_cluster(tmp_path) as cluster, cluster.client() as client:
        for ahead_s in (-3 * 86400, 0, 3 * 86400):
            monkeypatch.setenv("AHEAD_S", str(ahead_s))
            cluster.dworker()
        client.wait_for_workers(3, timeout_s=20)
        clocks = client.run(time.time)
        assert max(clocks.values()) - min(clocks.values()) > 5 * 86400
        sums = client.map(lambda x, y: x + y, client.map(abs, range(-200, 0)), range(200))
        assert client.gather(sums) == [200] * 200
        assert len(client.ncores()) == 3
        assert not LOST.search(cluster.log("scheduler"))


def test_two_workers_in_one_folder_have_a_folder_each(tmp_path):
    scratch = tmp_path / "scratch"
    with process_cluster(tmp_path, 2, "--local-directory", str(scratch)) as cluster, cluster.client() as client:
        assert len(list(scratch.iterdir())) == 2
        module = tmp_path / "shared_name.py"
        module.write_text("VALUE = 7\n")
        client.upload_file(str(module))
        assert sorted(path.parent.parent for path in scratch.glob("*/shared_name.py")) == [scratch, scratch]
        for process in cluster.processes[1:]:
            assert cluster.end(process) == 0
    assert list(scratch.iterdir()) == []


def test_what_a_suspended_job_leaves_in_proc_is_no_end(tmp_path):
    """The nanny of a stopped worker does not take it for a dead one."""
    with process_cluster(tmp_path, 1) as cluster, cluster.client() as client:
        (dworker,) = cluster.processes[1:]
        worker = client.submit(os.getpid).result(timeout=20)
        assert worker in family(dworker.pid)
        os.kill(worker, signal.SIGSTOP)
        until_sync(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        time.sleep(1.5)  # the length of the pause itself
        os.kill(worker, signal.SIGCONT)
        assert client.submit(os.getpid, pure=False).result(timeout=20) == worker
        assert not LOST.search(cluster.log("worker"))
