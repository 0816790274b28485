"""The Python twin of ``dlaunch``, on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed import Client
from distributed.errors import ConfigError
from launchers import Cluster, Local, Slurm
from launchers.errors import ProgramMissingError, StartFailedError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def checkout_for_jobs(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_a_client_connects_by_the_object_and_all_is_gone_at_the_end():
    with Local(n=2) as cluster:
        assert cluster.wait_for_workers(2, timeout_s=20) == 2
        with Client(cluster) as client:
            assert client.submit(sum, [1, 2, 3]).result() == 6
        with Client(cluster=cluster.name) as client:
            assert len(client.ncores()) == 2
        assert cluster.progress.registered == 2
        assert len(cluster.job_ids) == 1
        assert cluster.job_script().startswith("#!/bin/bash")
        file = Path(cluster.cluster_file)
        assert file.exists()
    assert not file.parent.exists()
    assert cluster.scheduler_address == ""
    cluster.close()
    with pytest.raises(RuntimeError, match="is closed"):
        cluster.scale(1)


def test_scaling_up_and_down():
    with Local(n=1) as cluster:
        cluster.scale(3)
        assert cluster.wait_for_workers(3, timeout_s=20) == 3
        with pytest.raises(ValueError, match="-1 is not a number of workers"):
            cluster.scale(-1)
        with pytest.raises(StartFailedError, match="3 of 4 workers are there and no more can come"):
            cluster.wait_for_workers(4)


def test_what_is_wrong_is_raised_and_nothing_is_left(own_home, monkeypatch):
    with pytest.raises(ConfigError, match="ambiguous"):
        Slurm(n=2, walltime="30")
    with pytest.raises(ConfigError, match="no option 'quue'"):
        Slurm(n=2, quue="main")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ProgramMissingError, match="sbatch is not in PATH"):
        Slurm(n=2)
    assert list((own_home / ".dlaunch").iterdir()) == []


def test_waiting_fails_early_when_no_worker_can_come():
    with Local(n=3, prologue=["exit 3"]) as cluster, pytest.raises(StartFailedError, match="3 jobs in a row"):
        cluster.wait_for_workers(1, timeout_s=30)


def test_the_script_can_be_seen_before():
    script = Slurm.dry_run(n=8, queue="main", prologue=["module load x"])
    assert "#SBATCH --array=1-8\n" in script
    assert "\nmodule load x\n" in script
    assert Cluster.dry_run("slurm", 8, queue="main", prologue=["module load x"]) == script
