"""``dlaunch gc`` where the queue is real: jobs that no file names are found by theirs."""

from __future__ import annotations

import contextlib
import json

import pytest

from tests.aio import until_sync
from tests.cluster.dlaunch_runs import folders, starting

LONG = "a-name-that-is-longer-than-what-a-queue-shows-in-its-table"


def kill_and_forget(bed, dlaunch, hold: str) -> None:
    """A launcher is killed after it submitted, and before it wrote down what."""
    run = dlaunch("-n", "3", "--name", LONG, f"--directive={hold}")
    run.until_said("3 pending")
    run.process.kill()
    run.process.wait()
    path = f".dlaunch/{LONG}/launcher.json"
    state = json.loads(bed.run(["cat", path]).stdout)
    assert len(state["arrays"]) == 1
    bed.run(["tee", path], input=json.dumps({**state, "arrays": [], "submitting": "1-3"}))
    assert bed.queued()


def assert_found(bed) -> None:
    until_sync(lambda: not bed.processes(), 30, what="the scheduler to notice that its parent is gone")
    assert bed.run(["dlaunch", "gc"]).stdout == f"{LONG} was dead; what it left is cleaned up\n"
    bed.assert_clean()
    assert LONG not in folders(bed)
    assert "nothing to clean up" in bed.run(["dlaunch", "gc"]).stderr


@pytest.fixture
def clean_homes():
    """A cluster that another test left would be cleaned up as well."""
    beds = []
    yield beds.append
    for bed in beds:
        with contextlib.suppress(AssertionError):
            bed.run(["rm", "-rf", f".dlaunch/{LONG}"])


def test_on_slurm(slurm, tmp_path_factory, clean_homes):
    clean_homes(slurm)
    slurm.run(["dlaunch", "gc"], check=False)
    with starting(slurm, tmp_path_factory, "dlaunch", "slurm", "--host", slurm.head) as dlaunch:
        kill_and_forget(slurm, dlaunch, "--hold")
        assert_found(slurm)


def test_on_grid_engine(sge, tmp_path_factory, clean_homes):
    clean_homes(sge)
    sge.run(["dlaunch", "gc"], check=False)
    with starting(sge, tmp_path_factory, "dlaunch", "sge", "--host", sge.head) as dlaunch:
        kill_and_forget(sge, dlaunch, "-h")
        assert_found(sge)
