"""Clusters on a played Torque and a played PBS: real schedulers, real workers, jobs that are processes here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distributed import Client
from launchers import Pbs, Torque
from launchers.errors import WrongSystemError
from launchers.fakes.batch import ACTIVE
from launchers.fakes.pbs import install_pbs
from launchers.fakes.torque import install_torque
from tests.aio import until_sync

pytestmark = [pytest.mark.daemons]


@pytest.fixture
def use(tmp_path, monkeypatch):
    """``use(install)`` puts a played system into PATH and returns it."""
    made = []
    monkeypatch.setenv("DLAUNCH_HOME", str(tmp_path / "home"))

    def put(install):
        batch = install(tmp_path / install.__name__, runs=True)
        made.append(batch)
        monkeypatch.setenv("PATH", f"{batch.programs}:{os.environ['PATH']}")
        return batch

    yield put
    for batch in made:
        batch.close()


@pytest.mark.parametrize(("cluster_class", "install"), [(Torque, install_torque), (Pbs, install_pbs)])
def test_one_array_that_works_and_leaves_nothing(use, cluster_class, install, tmp_path):
    batch = use(install)
    with cluster_class(n=3, host="127.0.0.1", log_dir=str(tmp_path / "my logs")) as cluster:
        cluster.wait_for_workers(3, timeout_s=30)
        with Client(cluster) as client:
            assert client.gather(client.map(abs, range(-100, 0))) == [*range(100, 0, -1)]
    assert [call.argv[1] for call in batch.calls("qsub")] == ["--version", "-t" if cluster_class is Torque else "-J"]
    assert not any(job.state in ACTIVE for job in batch.jobs().values())
    assert "Start worker" in next((tmp_path / "my logs").glob("*.2.log")).read_text()


@pytest.mark.expect_log("has ended")
@pytest.mark.parametrize(
    ("cluster_class", "install", "again"),
    [(Torque, install_torque, ("qsub", "-t", "2-2")), (Pbs, install_pbs, ("qsub", "-v", "DLAUNCH_ARRAY_INDEX=2"))],
)
def test_a_job_that_has_ended_is_submitted_again_alone(use, cluster_class, install, again):
    batch = use(install)
    with cluster_class(n=3, host="127.0.0.1") as cluster:
        cluster.wait_for_workers(3, timeout_s=30)
        element = next(job for job in batch.jobs().values() if job.index == 2)
        os.kill(element.pid, 9)
        until_sync(lambda: batch.calls("qsub")[-1].argv == again, timeout_s=20)
        until_sync(lambda: len(batch.jobs()) == 4 and cluster.progress.registered == 3, timeout_s=20)
        fourth = list(batch.jobs().values())[-1]
        until_sync(lambda: batch.jobs()[fourth.id].state == "RUNNING")
    assert not any(job.state in ACTIVE for job in batch.jobs().values())


@pytest.mark.parametrize(
    ("cluster_class", "install", "right"),
    [(Torque, install_pbs, "dlaunch pbs"), (Pbs, install_torque, "dlaunch torque")],
)
def test_the_other_systems_server_is_refused_before_anything_is_made(use, cluster_class, install, right):
    batch = use(install)
    with pytest.raises(WrongSystemError, match=f"use '{right}'") as caught:
        cluster_class(n=1, host="127.0.0.1", name="demo")
    assert caught.value.exit_code == 127
    assert [call.argv for call in batch.calls()] == [("qsub", "--version")]
    assert not (Path(os.environ["DLAUNCH_HOME"]) / "demo").exists()
