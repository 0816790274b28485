"""``dlaunch`` where something is wrong around it: names taken twice, full disks, a Python that is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from launchers.fakes.batch import ACTIVE
from launchers.fakes.slurm import OUTAGE, install_slurm
from tests.aio import until_sync
from tests.daemons.launchbed import ROOT, launching

OPTIONS = ("--host", "127.0.0.1", "--death-timeout", "2s")


@pytest.fixture
def dlaunch(tmp_path, own_home, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with launching(tmp_path, own_home) as bed:
        yield bed


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    batch = install_slurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{batch.programs}{os.pathsep}{os.environ['PATH']}")
    yield batch
    batch.close()


def active(batch) -> set[str]:
    return {job.id for job in batch.jobs().values() if job.state in ACTIVE}


def test_who_takes_the_name_of_a_dead_cluster_cancels_its_jobs_first(dlaunch, slurm):
    """They would look for their cluster file at the same place and join the new one under its workers' names."""
    first = dlaunch("slurm", "-n", "2", "--name", "c", *OPTIONS)
    first.until_said("submitted 2 jobs: 1")
    first.kill()
    slurm.order(*OUTAGE)
    refused = dlaunch.done("slurm", "-n", "3", "--name", "c", *OPTIONS)
    assert refused.process.returncode == 1
    assert "Unable to contact slurm controller" in refused.said
    assert dlaunch.folders() == ["c"]
    assert active(slurm) == {"1_1", "1_2"}
    slurm.behave()
    second = dlaunch("slurm", "-n", "3", "--name", "c", *OPTIONS)
    second.until_said("submitted 3 jobs: 2")
    assert active(slurm) == {"2_1", "2_2", "2_3"}
    assert second.end() == 0
    assert active(slurm) == set()


def test_of_two_that_want_one_name_at_once_one_gets_it(dlaunch, slurm):
    runs = [dlaunch("slurm", "-n", "1", "--name", "c", *OPTIONS) for _ in range(3)]
    until_sync(lambda: sum(run.process.poll() is not None for run in runs) == 2, 30)
    winner = next(run for run in runs if run.process.poll() is None)
    winner.until_said("submitted 1 job")
    for run in runs:
        if run is not winner:
            assert run.wait() == 1
            assert "a cluster named 'c' runs already" in run.said
    assert winner.end() == 0
    assert len(slurm.calls("sbatch")) == 1


def test_stopped_twice_at_once_and_once_more(dlaunch, slurm):
    run = dlaunch("slurm", "-n", "1", "--name", "c", *OPTIONS)
    run.until_said("submitted 1 job")
    stops = [dlaunch("stop", "c") for _ in range(2)]
    assert [stop.wait() for stop in stops] == [0, 0], [stop.said for stop in stops]
    assert run.wait() == 0
    again = dlaunch.done("stop", "c")
    assert again.process.returncode == 1
    assert "there is no cluster 'c'; dlaunch list shows those there are" in again.said


def test_list_says_why_jobs_wait(dlaunch, slurm):
    slurm.set_options(slots=0)
    run = dlaunch("slurm", "-n", "2", "--name", "c", *OPTIONS)
    run.until_said("2 pending (Resources")
    listing = dlaunch.done("list").out.read_text()
    assert "2 jobs, 2 pending, 0 running (Resources: waits for free nodes)" in listing
    assert run.end() == 0


def test_a_python_that_the_nodes_do_not_have_is_told_with_the_log(dlaunch):
    run = dlaunch.done("local", "-n", "3", "--python", "/no/such/python")
    assert run.process.returncode == 4
    assert "3 jobs in a row ended before their workers registered" in run.said
    assert "/no/such/python: No such file or directory" in run.said


def test_a_python_without_dlaunch_is_told_with_the_log(dlaunch, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    run = dlaunch.done("local", "-n", "3", "--python", str(python))
    assert run.process.returncode == 4
    assert "No module named" in run.said
    assert "distributed" in run.said


def test_a_logout_or_a_warning_of_the_batch_system_is_no_end(dlaunch):
    run = dlaunch("local", "-n", "1", "--name", "c", "--wait", "all")
    run.until_said("1 worker is there")
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        run.process.send_signal(number)
    assert "1 workers  1 jobs" in dlaunch.done("list").said
    assert run.end(signal.SIGTERM) == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place) -> None:
    with (place / "full").open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass


def test_a_full_disk_is_one_sentence_and_nothing_is_submitted(dlaunch, slurm, small_disk, monkeypatch):
    monkeypatch.setenv("DLAUNCH_HOME", str(small_disk / "home"))
    (small_disk / "home").mkdir(mode=0o700)
    fill(small_disk)
    run = dlaunch.done("slurm", "-n", "1", "--name", "c", *OPTIONS)
    assert run.process.returncode == 1, run.said
    assert run.said.count("\n") == 1
    assert "No space left on device" in run.said
    assert slurm.calls("sbatch") == []
    assert list((small_disk / "home").glob("*/*.json")) == []


def test_a_disk_that_fills_up_later_costs_no_job_and_no_clean_end(dlaunch, slurm, small_disk, monkeypatch):
    monkeypatch.setenv("DLAUNCH_HOME", str(small_disk / "home"))
    (small_disk / "home").mkdir(mode=0o700)
    run = dlaunch("slurm", "-n", "2", "--name", "c", *OPTIONS)
    run.until_said("2 jobs submitted, 2 running")
    fill(small_disk)
    slurm.set_state("1_1", "NODE_FAIL")
    run.until_said("does not take jobs now: cannot write")
    assert len(slurm.calls("sbatch")) == 1
    assert run.end(signal.SIGTERM) == 0, run.said
    assert active(slurm) == set()
    assert list((small_disk / "home").glob("*/*.json")) == []
