"""``dlaunch sge`` on a played Grid Engine whose jobs are processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from launchers.fakes.batch import Fault
from launchers.fakes.sge import install_sge
from tests.aio import until_sync

RUN = "import sys; from launchers.cli import main; sys.exit(main())"
SUM = "from distributed import Client; c = Client(); print(sum(c.gather(c.map(abs, range(100))))); c.close()"


@pytest.fixture
def batch(tmp_path):
    batch = install_sge(tmp_path / "sge", runs=True, kill_wait_s=5.0)
    yield batch
    batch.close()


@pytest.fixture
def dlaunch(batch, tmp_path):
    env = {**os.environ, "PATH": f"{batch.programs}:{os.environ['PATH']}", "DLAUNCH_HOME": str(tmp_path / "home")}
    env |= {"PYTHONPATH": os.pathsep.join(sys.path), "XDG_CONFIG_HOME": str(tmp_path / "config")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", RUN, "sge", "--host", "127.0.0.1", *arguments]
        return subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)

    return run


def in_queue(batch):
    return [job.id for job in batch.jobs().values() if job.pid or job.state in ("PENDING", "RUNNING", "COMPLETING")]


def test_from_the_submission_to_the_goodbye(batch, dlaunch):
    done = dlaunch("-n", "2", "--wait", "all", "--name", "c", "--", sys.executable, "-c", SUM)
    assert (done.returncode, done.stdout) == (0, "4950\n"), done.stderr
    assert len(batch.calls("qsub")) == 2, "one asks whose qsub it is, one submits"
    until_sync(lambda: in_queue(batch) == [], 5.0)
    # SIGUSR2 ended the workers, and they told so by their exit code; nobody had to kill them.
    assert {job.exit_code for job in batch.jobs().values()} == {140}


def test_jobs_in_error_state_are_told_with_the_reason_and_cleared_away(batch, dlaunch):
    done = dlaunch("-n", "3", "--directive", "-o /nonexistent/folder/x.$TASK_ID")
    assert done.returncode == 4, done.stderr
    assert '1.1: stuck (can\'t open output file "/nonexistent/folder/x.1": No such file or directory)' in done.stderr
    assert batch.jobs() == {}, "all have been deleted"
    assert "cancelling failed" not in done.stderr


def test_what_has_gone_meanwhile_is_no_trouble_at_the_end(batch, dlaunch):
    gone = b'denied: job "1" does not exist\n'
    batch.order(Fault("qdel", 1, stdout=gone, works=True))
    done = dlaunch("-n", "1", "--wait", "all", "--", "true")
    assert done.returncode == 0
    assert "cancelling failed" not in done.stderr


def test_a_refused_parallel_environment_is_told_with_its_line(dlaunch):
    done = dlaunch("-n", "2", "--nthreads", "2", "--pe", "shm")
    assert done.returncode == 5
    assert 'the requested parallel environment "shm" does not exist' in done.stderr
    assert "line 7 of the jobscript: #$ -pe shm 2" in done.stderr


def test_how_a_job_ended_may_be_known_only_later(batch, dlaunch):
    late = Fault("qacct", 1, stderr=b"error: job id 1 not found\n", times=2)
    batch.order(late)
    done = dlaunch("-n", "3", "--prologue", "exit 7")
    assert done.returncode == 4, done.stderr
    assert "failed with exit code 7" in done.stderr
    assert "nobody says how" not in done.stderr


def test_another_systems_qsub_is_refused(batch, dlaunch):
    batch.order(Fault("qsub", 2, stderr=b"usage: qsub [-a date_time] [-A account_string]\n", argument="-help"))
    done = dlaunch("-n", "1")
    assert done.returncode != 0
    assert "use 'dlaunch torque' or 'dlaunch pbs'" in done.stderr
    assert not [call for call in batch.calls("qsub") if call.stdin]
