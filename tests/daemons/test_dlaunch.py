"""The command ``dlaunch`` as users run it: real processes, the scheduler, workers on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launchers.fakes.slurm import install_slurm
from tests.aio import until_sync
from tests.daemons.launchbed import processes_of

ROOT = Path(__file__).parents[2]
SUM = """
import sys
from distributed import Client
with Client() as client:
    print(sum(client.gather(client.map(abs, range(-1000, 0)))))
sys.exit(9)
"""


class Run:
    """A running ``dlaunch``."""

    def __init__(self, argv: tuple[str, ...], folder: Path, **kw) -> None:
        self.out, self.err = folder / "out", folder / "err"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "launchers.cli", *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                **kw,
            )

    @property
    def said(self) -> str:
        return self.out.read_text() + self.err.read_text()

    def until_said(self, text: str) -> None:
        with contextlib.suppress(AssertionError):
            until_sync(lambda: text in self.said or self.process.poll() is not None, 20)
        assert text in self.said, f"{text!r} was not said:\n{self.said}"

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(timeout=25)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.said}") from None


@pytest.fixture
def dlaunch(tmp_path, own_home, monkeypatch):
    """``dlaunch(*arguments)`` starts one; at the end no process of it may be left."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    runs: list[Run] = []

    def start(*argv: str, **kw) -> Run:
        folder = tmp_path / f"run{len(runs)}"
        folder.mkdir()
        runs.append(Run(argv, folder, **kw))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()
    try:
        until_sync(lambda: not processes_of(own_home), 10)
    except AssertionError:
        left = processes_of(own_home)
        for line in left:
            os.kill(int(line.split()[0]), signal.SIGKILL)
        raise AssertionError(f"left behind: {left}") from None


def folders(home: Path) -> list[str]:
    return sorted(path.name for path in (home / ".dlaunch").iterdir() if path.is_dir())


def test_a_command_runs_against_its_workers_and_nothing_is_left(dlaunch, own_home, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SUM)
    run = dlaunch("local", "-n", "2", "--", sys.executable, str(script))
    assert run.wait() == 9, run.said
    assert run.out.read_text() == "500500\n"
    assert "logs are kept" in run.err.read_text()
    assert [path.name for path in (own_home / ".dlaunch").rglob("*.json")] == []


def test_a_command_that_ends_well_leaves_no_folder(dlaunch, own_home):
    run = dlaunch("local", "-n", "1", "--", "true")
    assert run.wait() == 0, run.said
    assert folders(own_home) == []


def test_it_stays_until_ctrl_c(dlaunch, own_home):
    run = dlaunch("local", "-n", "2", "--name", "mine", "--wait", "all")
    run.until_said("2 workers are there")
    out = run.out.read_text()
    assert out.startswith("Cluster mine at 127.0.0.1:")
    assert 'Client(cluster="mine")' in out
    assert run.end() == 0, run.said
    assert folders(own_home) == []


def test_list_and_stop_from_another_shell(dlaunch):
    run = dlaunch("local", "-n", "1", "--name", "mine", "--wait", "all")
    run.until_said("1 worker is there")
    listing = dlaunch("list")
    assert listing.wait() == 0
    assert listing.out.read_text().split()[:2] == ["mine", "local"]
    assert "1 workers  1 jobs, 0 pending, 1 running" in listing.out.read_text()
    again = dlaunch("local", "-n", "1", "--name", "mine")
    assert again.wait() == 1
    assert "a cluster named 'mine' runs already" in again.err.read_text()
    stop = dlaunch("stop", "mine")
    assert stop.wait() == 0, stop.said
    assert stop.out.read_text() == "mine has ended\n"
    assert run.wait() == 0


def test_what_a_killed_launcher_left_is_stopped(dlaunch, own_home):
    run = dlaunch("local", "-n", "2", "--name", "mine", "--wait", "all")
    run.until_said("2 workers are there")
    run.process.kill()
    run.process.wait()
    # Its scheduler notices by itself that its parent has gone.
    until_sync(lambda: not any("dscheduler" in line for line in processes_of(own_home)), 10)
    stop = dlaunch("stop", "mine")
    assert stop.wait() == 0, stop.said
    assert "cleaned up" in stop.out.read_text()
    assert processes_of(own_home) == []
    assert folders(own_home) == []


def test_workers_of_a_killed_launcher_end_by_themselves(dlaunch, own_home):
    run = dlaunch("local", "-n", "1", "--wait", "all", "--death-timeout", "1s")
    run.until_said("1 worker is there")
    run.process.kill()
    run.process.wait()
    until_sync(lambda: processes_of(own_home) == [], 20)


def test_jobs_that_die_are_explained_and_the_log_is_kept(dlaunch):
    run = dlaunch("local", "-n", "3", "--prologue", "echo no such module; exit 7")
    assert run.wait() == 4, run.said
    assert "3 jobs in a row ended before their workers registered" in run.said
    assert "  no such module\n" in run.said
    log = next(line for line in run.said.splitlines() if "the end of the log" in line).split()[-1].rstrip(":")
    assert "no such module" in Path(log).read_text()


def test_waiting_too_long(dlaunch):
    run = dlaunch("local", "-n", "1", "--prologue", "sleep 30", "--wait", "1", "--wait-timeout", "1s", "--", "true")
    assert run.wait() == 6, run.said
    assert "gave up waiting: 0 of 1 workers are there after 1 s" in run.said


def test_a_command_that_is_not_there(dlaunch):
    run = dlaunch("local", "-n", "1", "--", "/no/such/program")
    assert run.wait() == 127, run.said
    assert "cannot run /no/such/program" in run.said


def test_a_signal_is_handed_to_the_command_and_its_code_is_given(dlaunch, tmp_path):
    script = "trap 'echo got; exit 5' TERM; echo on; while :; do sleep 0.05; done"
    run = dlaunch("local", "-n", "1", "--", "bash", "-c", script)
    run.until_said("on\n")
    assert run.end(signal.SIGTERM) == 5, run.said
    assert run.out.read_text() == "on\ngot\n"


def test_a_scheduler_that_dies_ends_all(dlaunch, own_home):
    run = dlaunch("local", "-n", "1", "--wait", "all")
    run.until_said("1 worker is there")
    (line,) = [line for line in processes_of(own_home) if "dscheduler" in line]
    os.kill(int(line.split()[0]), signal.SIGKILL)
    assert run.wait() == 7, run.said
    assert "is gone" in run.said


def test_a_scheduler_that_cannot_start(dlaunch, own_home):
    run = dlaunch("local", "-n", "1", "--host", "192.0.2.99")
    assert run.wait() == 1
    assert "dlaunch: the scheduler could not start: 192.0.2.99 is not an address of this host" in run.said
    assert folders(own_home) == []


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A played SLURM in PATH whose jobs are real processes."""
    batch = install_slurm(tmp_path / "slurm", runs=True)
    monkeypatch.setenv("PATH", f"{batch.programs}{os.pathsep}{os.environ['PATH']}")
    yield batch
    batch.close()


def test_the_same_through_a_played_slurm(dlaunch, slurm, own_home, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SUM)
    options = ("--queue", "main", "--walltime", "1h", "--host", "127.0.0.1", "--wait", "all")
    run = dlaunch("slurm", "-n", "4", "--workers-per-job", "2", *options, "--", sys.executable, str(script))
    assert run.wait() == 9, run.said
    assert run.out.read_text() == "500500\n"
    assert len(slurm.calls("sbatch")) == 1
    assert not [job for job in slurm.jobs().values() if job.pid]
    assert "4 of 4 workers registered" in run.said


def test_a_refused_job(dlaunch, slurm):
    run = dlaunch("slurm", "-n", "1", "--queue", "nope", "--host", "127.0.0.1")
    assert run.wait() == 5, run.said
    assert "Invalid partition name specified" in run.said
    assert "#SBATCH --partition=nope" in run.said
    assert run.said.count("Invalid partition name specified") == 1
