"""Jobscripts that users submit themselves, on played batch systems whose jobs are processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distributed import Client, rpc
from distributed.clusterfile import ClusterFile, default_secret, path_of
from launchers.fakes.pbs import install_pbs
from launchers.fakes.sge import install_sge
from launchers.fakes.slurm import install_slurm
from launchers.fakes.torque import install_torque
from tests.aio import until_sync
from tests.daemons.nannybed import program

ROOT = Path(__file__).parents[2]
DLAUNCH = [sys.executable, "-m", "launchers.cli"]
LOOPBACK = ("--host", "127.0.0.1")
SYSTEMS = {
    "slurm": (install_slurm, ("sbatch", "--array=1-2"), ["1_1", "1_2", "2_1", "2_2"]),
    "sge": (install_sge, ("qsub", "-t", "1-2"), ["1.1", "1.2", "2.1", "2.2"]),
    "torque": (install_torque, ("qsub", "-t", "1-2"), ["1[1].vm", "1[2].vm", "2[1].vm", "2[2].vm"]),
    "pbs": (install_pbs, ("qsub", "-J", "1-2"), ["1[1].pbsvm", "1[2].pbsvm", "2[1].pbsvm", "2[2].pbsvm"]),
}


@pytest.fixture(autouse=True)
def checkout(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def use(tmp_path, monkeypatch):
    """``use(install)`` puts a played system into PATH and returns it."""
    with contextlib.ExitStack() as stack:

        def put(install):
            batch = install(tmp_path / install.__name__, runs=True)
            stack.callback(batch.close)
            monkeypatch.setenv("PATH", f"{batch.programs}:{os.environ['PATH']}")
            return batch

        yield put


def run(*argv: str, stdin: str = "", code: int = 0) -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def dlaunch(*words: str, code: int = 0) -> str:
    return run(*DLAUNCH, *words, code=code)


@contextlib.contextmanager
def scheduler(*words: str):
    """A head or a scheduler that has started: its process and address."""
    with program(*words, *LOOPBACK) as process:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield process, line.split()[-1]


def head(*words: str):
    return scheduler("-m", "launchers.cli", "head", *words)


def dscheduler(*words: str):
    return scheduler("-m", "distributed.cli.dscheduler", "--port", "0", *words)


def workers(address: str) -> list[tuple[str, str, bool]]:
    """Name, job and whether it is adopted, of every worker."""
    found = rpc(address).identity()["workers"].values()
    return sorted((worker["name"], worker["job_id"], worker["adopted"]) for worker in found)


@pytest.mark.parametrize("system", SYSTEMS)
def test_one_script_submitted_twice_is_twice_as_many_workers(use, system):
    install, submit, names = SYSTEMS[system]
    use(install)
    script = dlaunch(system, "-n", "8", "--dry-run")
    with dscheduler() as (_, address):
        run(*submit, stdin=script)
        run(*submit, stdin=script)
        until_sync(lambda: len(workers(address)) == 4, 30)
        assert workers(address) == [(name, name, True) for name in names]
        with Client() as client:
            assert client.gather(client.map(abs, range(-100, 0))) == [*range(100, 0, -1)]
        table = [line.split() for line in dlaunch("list", "default").splitlines()]
        assert table[0][:2] + table[0][4:] == ["default", "by", "4", "workers,", "4", "adopted"]
        assert [(row[0], *row[-2:]) for row in table[2:]] == [(name, name, "adopted") for name in names]
        logs = sorted(path.name for path in path_of("default").with_name("logs").glob("*.log"))
        assert logs == [f"default.{name}.log" for name in names]
        assert dlaunch("stop", "default") == "default has ended\n"
    assert path_of("default").with_name("logs").is_dir(), "jobs that still wait write there"


def test_head_tells_of_the_workers_it_adopts_and_of_those_it_loses(use):
    batch = use(install_slurm)
    with head("--name", "pond") as (process, address):
        assert f'Client(cluster="pond"), or Client("{address}")' in process.stdout.readline()
        assert "'dlaunch SYSTEM -n 8 --name pond --dry-run > job.sh'" in process.stdout.readline()
        script = dlaunch("slurm", "-n", "2", "--name", "pond", "--dry-run")
        run("sbatch", stdin=script)
        until_sync(lambda: len(workers(address)) == 2, 30)
        assert dlaunch("list").split()[:2] == ["pond", "head"]
        assert "a cluster named 'pond' runs already" in dlaunch("head", "--name", "pond", code=1)
        run("scancel", "1_1")
        until_sync(lambda: len(workers(address)) == 1, 20)
        os.kill(batch.jobs()["1_2"].pid, signal.SIGKILL)
        until_sync(lambda: not workers(address), 20)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0
    lines = said.splitlines()
    assert "dlaunch: 2 workers adopted" in lines
    (lost,) = [line for line in lines if "is lost" in line]
    assert lost.startswith("dlaunch: warning: worker 1_2 is lost: "), "the other one said goodbye"
    assert not path_of("pond").exists()
    assert dlaunch("list") == ""


def test_head_ends_when_its_scheduler_dies():
    with head() as (process, address):
        rpc(address).terminate()
        _, said = process.communicate(timeout=30)
        assert process.returncode == 7
    assert f"the scheduler at {address} is gone" in said


def test_head_can_be_stopped_and_cleaned_up_by_name():
    with head() as (process, _):
        assert dlaunch("stop", "default") == "default has ended\n"
        assert process.wait(20) == 0
    with head() as (process, address):
        process.kill()
        process.wait()
        until_sync(lambda: not _answers(address), 20)
        assert dlaunch("stop", "default") == "default was dead; what it left is cleaned up\n"


def _answers(address: str) -> bool:
    try:
        rpc(address).identity()
    except OSError:
        return False
    return True


def test_a_cluster_takes_in_workers_that_it_did_not_launch(use):
    use(install_slurm)
    with program(*DLAUNCH[1:], "slurm", "-n", "2", "--name", "mine", *LOOPBACK, "--wait", "all") as process:
        address = process.stdout.readline().split()[-1]
        until_sync(lambda: len(workers(address)) == 2, 30)
        script = dlaunch("slurm", "-n", "1", "--name", "mine", "--dry-run")
        run("sbatch", stdin=script)
        until_sync(lambda: len(workers(address)) == 3, 30)
        assert workers(address) == [("2_1", "2_1", True), ("mine.1", "1_1", False), ("mine.2", "1_2", False)]
        assert "3 workers, 1 adopted  2 jobs, 0 pending, 2 running" in dlaunch("list")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0
    assert "2 running, 2 of 2 workers registered, 1 adopted\n" in said
    assert "all jobs are gone" in said


def test_local_workers_are_launched_ones():
    with program(*DLAUNCH[1:], "local", "-n", "1", "--name", "mine", "--wait", "all") as process:
        address = process.stdout.readline().split()[-1]
        until_sync(lambda: workers(address), 30)
        ((name, job, adopted),) = workers(address)
        assert (name, adopted) == ("mine.1", False)
        assert job.count(":") == 2
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


# -- where a scheduler without a name is published ------------------------------------------------------------------


def test_a_scheduler_without_a_name_is_the_default_one():
    with dscheduler() as (process, address):
        found = ClusterFile.read(path_of("default"))
        assert found.addresses[0] == address
        assert found.secret_bytes == default_secret()
        with dscheduler() as (_, second):
            assert second != address
            assert ClusterFile.read(path_of("default")).addresses[0] == address, "the first one stays"
        assert "the cluster 'default' runs already" in dlaunch("head", code=1)
        process.kill()
        process.wait()
    with dscheduler() as (process, third):
        assert ClusterFile.read(path_of("default")).addresses[0] == third, "it takes a dead one's place"
        rpc(third).terminate()
        assert process.wait(20) == 0
    assert not path_of("default").exists()


def test_a_default_that_cannot_be_written_stops_no_scheduler(own_home):
    default_secret()
    (own_home / ".dlaunch" / "default").write_text("in the way\n")
    with dscheduler() as (process, address):
        assert rpc(address).identity()["workers"] == {}
        rpc(address).terminate()
        assert process.wait(20) == 0
        assert "only those who know the address will find this scheduler" in process.stderr.read()
