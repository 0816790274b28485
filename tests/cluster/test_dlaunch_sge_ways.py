"""``dlaunch sge`` by its commands and by its DRMAA library: the same cluster, on a real Grid Engine."""

from __future__ import annotations

import os

import pytest

from tests.aio import until_sync
from tests.cluster.dlaunch_runs import MAP, MAP_BODY, SUM_OF_SQUARES, folders, starting

N = "16" if os.environ.get("SGE_NETNS") == "0" else "64"
WAYS = {"commands": (), "drmaa": ("--via", "drmaa")}


@pytest.fixture(params=WAYS)
def way(request) -> str:
    return request.param


@pytest.fixture
def dlaunch(sge, way, tmp_path_factory):
    """``dlaunch(*arguments)``: start it as the normal user; nothing of it may be left at the end."""
    with starting(sge, tmp_path_factory, "dlaunch", "sge", *WAYS[way], "--host", sge.head) as start:
        yield start


def without_commands(sge, folder) -> dict[str, str]:
    """An environment in which Grid Engine can be reached by the library alone."""
    for name in ("qsub", "qstat", "qdel", "qacct"):
        sge.run(["tee", folder / name], input="#!/bin/sh\nexit 99\n")
        sge.run(["chmod", "755", folder / name])
    path = sge.run(["printenv", "PATH"]).stdout.strip()
    return {"PATH": f"{folder}:{path}"}


def test_many_workers_do_ten_thousand_tasks_and_leave_nothing(sge, way, dlaunch, sge_workdir):
    env = without_commands(sge, sge_workdir) if way == "drmaa" else {}
    run = dlaunch("-n", N, "--name", "big", "--wait", "all", env=env)
    run.until_said(f"{N} workers are there", timeout_s=90)
    # A worker may be there before the qmaster has heard that its job is not being transferred any more.
    until_sync(lambda: {row[1] for row in sge.qstat()} == {"r"}, what="the qmaster knows that all run")
    assert len({row[0] for row in sge.qstat()}) == 1, "one array, one submission"
    assert run.stderr.count(f"submitted {N} jobs:") == 1
    done = sge.run(["python", "-c", f"from distributed import Client\nc = Client(cluster='big')\n{MAP_BODY}"])
    assert done.stdout.split() == [SUM_OF_SQUARES, N]
    assert run.interrupt() == 0
    assert sge.qstat() == []
    sge.assert_clean()
    assert "big" not in folders(sge)


def test_a_command_finds_the_cluster_and_gives_its_exit_code(sge, dlaunch, sge_workdir):
    script = sge_workdir / "script.py"
    sge.run(["tee", script], input=f"{MAP}\nsys.exit(9)\n")
    run = dlaunch("-n", "4", "--wait", "all", "--", "python", str(script), cwd=sge_workdir)
    assert run.process.wait(timeout=90) == 9, run.stderr
    assert run.stdout.split() == [SUM_OF_SQUARES]
    sge.assert_clean()


def test_an_unknown_queue_is_told_in_grid_engines_words_with_the_line(sge, dlaunch):
    run = dlaunch("-n", "2", "--queue", "nowhere.q")
    assert run.process.wait(timeout=60) == 5
    assert 'job requests unknown queue "nowhere.q"' in run.stderr
    assert "#$ -q nowhere.q" in run.stderr
    sge.assert_clean()


def test_jobs_that_die_before_the_worker_are_explained(sge, dlaunch):
    run = dlaunch("-n", "4", "--prologue", "echo no such module >&2; exit 7")
    assert run.process.wait(timeout=90) == 4
    assert "with exit code 7" in run.stderr
    assert "  no such module" in run.stderr
    sge.assert_clean()
