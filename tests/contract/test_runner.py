"""Played jobs that are real processes: they start, end, and leave nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from launchers.fakes.batch import Fault, is_running
from launchers.fakes.slurm import install_slurm
from tests.aio import until_sync


@pytest.fixture
def batch(tmp_path):
    batch = install_slurm(tmp_path / "slurm", runs=True, kill_wait_s=0.2)
    yield batch
    batch.close()


def sbatch(batch, body: str, *options: str, **kw) -> subprocess.CompletedProcess[str]:
    script = f"#!/bin/bash\n#SBATCH --output={batch.folder}/%a.log --open-mode=append\n\n{body}\n"
    argv = [batch.programs / "sbatch", "--parsable", "--array=1-1", *options]
    return subprocess.run(argv, input=script, capture_output=True, text=True, check=False, **kw)


def state(batch, job: str = "1_1"):
    found = batch.jobs()[job]
    return found.state, found.exit_code, found.signal


@pytest.mark.parametrize(
    ("body", "expected"),
    [("true", ("COMPLETED", 0, 0)), ("exit 3", ("FAILED", 3, 0)), ("kill -9 $$", ("FAILED", 0, 9))],
)
def test_how_jobs_end(batch, body, expected):
    assert sbatch(batch, body).stdout == "1\n"
    until_sync(lambda: state(batch) == expected)


def test_a_log_that_cannot_be_written_fails_the_job(batch):
    sbatch(batch, "true", "--output=/nonexistent/x.log")
    until_sync(lambda: state(batch) == ("FAILED", 0, 53))
    assert batch.jobs()["1_1"].reason == "RaisedSignal:53(Real-time_signal_19)"


def test_no_more_run_at_a_time_than_there_are_slots(batch):
    batch.set_options(slots=2)
    sbatch(batch, "exec sleep 60", "--array=1-3")
    until_sync(lambda: [job.state for job in batch.jobs().values()] == ["RUNNING", "RUNNING", "PENDING"])
    subprocess.run([batch.programs / "scancel", "1_1"], check=True)
    until_sync(lambda: [job.state for job in batch.jobs().values()] == ["CANCELLED", "RUNNING", "RUNNING"])


def test_a_cancelled_job_may_say_goodbye_but_not_stay(batch):
    sbatch(batch, "trap 'echo bye' TERM; echo ready; while :; do sleep 0.05; done")
    log = batch.folder / "1.log"
    until_sync(lambda: log.exists() and "ready" in log.read_text())
    subprocess.run([batch.programs / "scancel", "1"], check=True)
    assert state(batch)[0] in ("COMPLETING", "CANCELLED")
    until_sync(lambda: state(batch) == ("CANCELLED", 0, 9))
    assert "bye" in log.read_text()


def test_children_of_a_job_end_with_it(batch):
    sbatch(batch, "sleep 60 & echo $!")
    until_sync(lambda: state(batch)[0] == "COMPLETED")
    child = int((batch.folder / "1.log").read_text())
    until_sync(lambda: not is_running(child))


def test_a_command_may_hang(batch):
    batch.order(Fault("sbatch", hangs=True))
    with pytest.raises(subprocess.TimeoutExpired):
        sbatch(batch, "true", timeout=0.5)
    assert batch.jobs() == {}


def test_everything_ends_with_the_process_that_made_it(tmp_path):
    """Also a test run that is killed leaves no job behind."""
    program = f"""
        import os, subprocess, sys, time
        from pathlib import Path
        from launchers.fakes.slurm import install_slurm
        batch = install_slurm(Path({str(tmp_path / "slurm")!r}), runs=True)
        script = "#!/bin/sh\\n#SBATCH -o /dev/null\\n\\nexec sleep 60\\n"
        subprocess.run([batch.programs / "sbatch", "--parsable"], input=script, text=True, stdout=2, check=True)
        while not (pid := batch.jobs()["1"].pid):
            time.sleep(0.01)
        print(pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    argv = [sys.executable, "-c", textwrap.dedent(program)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False, env=env)
    assert done.returncode == -9
    until_sync(lambda: not is_running(int(done.stdout)))
