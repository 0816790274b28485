"""``dlaunch gc``: a launcher may be killed wherever it is, and all that it left is found."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest

from launchers.fakes.batch import ACTIVE, Fault
from launchers.fakes.slurm import OUTAGE, install_slurm
from launchers.folder import ClusterFolder
from tests.aio import until_sync
from tests.daemons.launchbed import ROOT, launching, processes_of

OPTIONS = ("--name", "c", "--host", "127.0.0.1", "--death-timeout", "2s")
# Runs dlaunch and kills it before or after the first call of one of its functions.
DIES = """
import importlib, inspect, os, signal, sys
place, when = sys.argv[1:3]
module, owner, name = place.split(":")
owner = importlib.import_module(module) if not owner else getattr(importlib.import_module(module), owner)
real = getattr(owner, name)
def passes(here):
    if when == here:
        os.kill(os.getpid(), signal.SIGKILL)
if inspect.iscoroutinefunction(real):
    async def wrapped(*args, **kwargs):
        passes("before")
        result = await real(*args, **kwargs)
        passes("after")
        return result
else:
    def wrapped(*args, **kwargs):
        passes("before")
        result = real(*args, **kwargs)
        passes("after")
        return result
setattr(owner, name, wrapped)
from launchers.cli import main
sys.exit(main(sys.argv[3:]))
"""


@pytest.fixture
def dlaunch(tmp_path, own_home, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with launching(tmp_path, own_home) as bed:
        yield bed


@pytest.fixture
def make_slurm(tmp_path, monkeypatch):
    """``make_slurm(runs=...)``: a played SLURM in PATH."""
    batches = []

    def make(*, runs):
        batches.append(install_slurm(tmp_path / "slurm", runs=runs))
        monkeypatch.setenv("PATH", f"{batches[-1].programs}{os.pathsep}{os.environ['PATH']}")
        return batches[-1]

    yield make
    for batch in batches:
        batch.close()


def die(dlaunch, place: str, when: str) -> None:
    """Launch two jobs, with a clean end after they were submitted, and be killed on the way."""
    words = (place, when, "slurm", "-n", "2", *OPTIONS)
    run = dlaunch(*words, program=("-c", DIES))
    until_sync(lambda: run.process.poll() is not None or "submitted 2 jobs" in run.said, 30)
    if run.process.poll() is None:
        run.process.send_signal(signal.SIGTERM)
    assert run.wait() == -signal.SIGKILL, run.said


def active(batch) -> list[str]:
    return [job.id for job in batch.jobs().values() if job.state in ACTIVE]


@pytest.mark.parametrize(
    ("place", "when", "jobs"),
    [
        ("launchers.folder:ClusterFolder:new_state", "before", 0),
        ("launchers.folder:ClusterFolder:write_state", "after", 0),
        ("launchers.head:SchedulerProcess:start", "after", 0),
        ("launchers.launcher:Launcher:_remember", "before", 0),
        ("launchers.launcher:Launcher:_remember", "after", 0),
        ("launchers.launcher:Launcher:_parse_submit", "before", 2),
        ("launchers.launcher:Launcher:_note_submitted", "before", 2),
        ("launchers.launcher:Launcher:_note_submitted", "after", 2),
        ("launchers.launcher:Launcher:_checked", "before", 2),
        ("launchers.launcher:Launcher:_checked", "after", 0),
        ("launchers.head:SchedulerProcess:end", "before", 0),
        ("launchers.folder:ClusterFolder:remove", "before", 0),
        ("shutil::rmtree", "before", 0),
    ],
)
def test_wherever_a_launcher_is_killed_its_jobs_and_folder_are_found(dlaunch, make_slurm, place, when, jobs):
    slurm = make_slurm(runs=False)
    die(dlaunch, place, when)
    assert dlaunch.folders() == ["c"]
    assert len(active(slurm)) == jobs
    gc = dlaunch.done("gc")
    assert gc.process.returncode == 0, gc.said
    assert gc.out.read_text() == "c was dead; what it left is cleaned up\n"
    assert dlaunch.folders() == []
    assert active(slurm) == []
    assert "there is nothing to clean up" in dlaunch.done("gc").said


def test_running_workers_of_a_killed_launcher_are_ended(dlaunch, make_slurm, own_home):
    slurm = make_slurm(runs=True)
    run = dlaunch("slurm", "-n", "2", *OPTIONS[:-2], "--death-timeout", "1h", "--wait", "all")
    run.until_said("2 workers are there")
    run.kill()
    assert dlaunch.done("gc").out.read_text() == "c was dead; what it left is cleaned up\n"
    until_sync(lambda: not active(slurm) and not processes_of(own_home), 20)
    assert dlaunch.folders() == []


def test_a_job_that_begins_when_its_cluster_has_gone_ends_in_seconds(dlaunch, make_slurm, tmp_path):
    slurm = make_slurm(runs=True)
    slurm.order(Fault("sbatch", None, delay_s=3))
    logs = tmp_path / "logs"
    run = dlaunch("slurm", "-n", "1", *OPTIONS, "--log-dir", str(logs))
    until_sync(lambda: slurm.calls("sbatch"), 20)
    run.kill()
    # The command of the batch system is not killed with us: the job comes when all is cleaned up.
    assert dlaunch.done("gc").process.returncode == 0
    assert dlaunch.folders() == []
    assert slurm.jobs() == {}
    until_sync(slurm.jobs, 20)
    started_s = time.monotonic()
    until_sync(lambda: not active(slurm), 15)
    assert time.monotonic() - started_s < 12
    (log,) = logs.glob("*.log")
    assert "there is no cluster file" in log.read_text()
    assert {(job.state, job.exit_code) for job in slurm.jobs().values()} == {("FAILED", 1)}


def test_living_clusters_are_left_alone(dlaunch, own_home):
    run = dlaunch("local", "-n", "1", "--name", "mine", "--host", "127.0.0.1", "--wait", "all")
    run.until_said("1 worker is there")
    by_hand = dlaunch("--cluster", "hand", "--port", "0", program=("-m", "distributed.cli.dscheduler"))
    by_hand.until_said("Start scheduler at")
    gc = dlaunch.done("gc")
    assert gc.process.returncode == 0
    assert gc.said == "dlaunch: there is nothing to clean up\n"
    assert dlaunch.folders() == ["hand", "mine"]
    assert run.process.poll() is None
    assert run.end() == 0
    assert by_hand.end() == 0


def test_a_batch_system_that_is_down_costs_no_knowledge_of_its_jobs(dlaunch, make_slurm):
    slurm = make_slurm(runs=False)
    die(dlaunch, "launchers.launcher:Launcher:_note_submitted", "before")
    slurm.order(*OUTAGE)
    gc = dlaunch.done("gc")
    assert gc.process.returncode == 1
    assert "dlaunch: c stays: " in gc.said
    assert "Unable to contact slurm controller" in gc.said
    assert dlaunch.folders() == ["c"]
    slurm.behave()
    assert dlaunch.done("gc").process.returncode == 0
    assert active(slurm) == []


def test_what_cannot_be_known_from_here_is_left_alone_with_a_sentence(dlaunch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, address in (("far", "127.0.0.1:9"), ("quiet", f"127.0.0.1:{silent.getsockname()[1]}")):
            folder = ClusterFolder(name)
            folder.claim()
            state = folder.new_state("local", name, folder.logs)
            state.host, state.address = "elsewhere", address
            folder.write_state(state)
            folder.unlock()
        broken = ClusterFolder("broken")
        broken.claim()
        broken.state_file.write_text("{")
        broken.unlock()
        gc = dlaunch.done("gc")
    assert gc.process.returncode == 1
    assert gc.out.read_text() == "far was dead; what it left is cleaned up\n"
    assert "quiet stays: process" in gc.said
    assert "on elsewhere launched it and cannot be asked from here: run 'dlaunch gc' there" in gc.said
    assert "broken stays: " in gc.said
    assert dlaunch.folders() == ["broken", "quiet"]


def test_jobs_that_a_system_cannot_be_searched_for_are_told_of(dlaunch):
    folder = ClusterFolder("c")
    folder.claim()
    state = folder.new_state("local", "c", folder.logs)
    state.pid, state.submitting = 2**22 + 1, "1-4"
    folder.write_state(state)
    folder.unlock()
    said = dlaunch.done("gc").said
    assert said.startswith("c was dead; what it left is cleaned up; local cannot be searched for the jobs it was subm")


def test_without_locks_the_launcher_itself_is_asked(dlaunch, monkeypatch):
    """Some network file systems know no locks."""
    run = dlaunch("local", "-n", "1", "--name", "mine", "--host", "127.0.0.1", "--wait", "all")
    run.until_said("1 worker is there")
    (ClusterFolder("mine").path / "lock").unlink()  # as good as a lock that holds nobody off
    assert "nothing to clean up" in dlaunch.done("gc").said
    assert run.process.poll() is None
    assert run.end() == 0
