"""``dlaunch sge`` on a real Grid Engine, as a normal user on the head node."""

from __future__ import annotations

import contextlib

import psutil
import pytest

from tests.aio import until_sync
from tests.cluster.dlaunch_runs import MAP_BODY, SUM_OF_SQUARES, folders, starting


@pytest.fixture
def dlaunch(sge, tmp_path_factory):
    """``dlaunch(*arguments)``: start it as the normal user; nothing of it may be left at the end."""
    with starting(sge, tmp_path_factory, "dlaunch", "sge", "--host", sge.head) as start:
        yield start


def test_jobs_in_error_state_are_told_with_the_reason_and_cleared_away(sge, dlaunch):
    run = dlaunch("-n", "3", "--directive", "-S /no/such/shell")
    assert run.process.wait(timeout=90) == 4
    assert 'stuck (unable to find shell "/no/such/shell")' in run.stderr
    assert sge.qstat() == []
    sge.assert_clean()


def test_waiting_jobs_are_shown_with_the_reason_and_cancelled(sge, dlaunch):
    run = dlaunch("-n", "3", "--directive=-h")
    run.until_said("3 pending (hqw: held: qrls JOB lets it go")
    assert run.interrupt() == 0
    assert sge.qstat() == []
    sge.assert_clean()


def test_waiting_in_vain_ends_by_its_own_exit_code(sge, dlaunch):
    run = dlaunch("-n", "2", "--directive=-h", "--wait", "1", "--wait-timeout", "3s")
    assert run.process.wait(timeout=60) == 6
    gave_up = next(line for line in run.stderr.splitlines() if "gave up waiting" in line)
    assert "0 of 1 workers are there after 3 s; 2 jobs wait in the queue (hqw: held" in gave_up
    sge.assert_clean()


def kill_job(sge, worker: str) -> None:
    """Kill all processes of a job at once, so that nobody can say goodbye."""
    for process in sge.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            if worker in process.cmdline():
                process.kill()


def test_a_dead_worker_comes_back_and_a_cancelled_job_does_not(sge, dlaunch):
    run = dlaunch("-n", "3", "--name", "phoenix", "--wait", "all")
    run.until_said("3 workers are there")
    job = sge.qstat()[0][0]
    kill_job(sge, "phoenix.1")
    run.until_said("it is submitted again in")
    until_sync(lambda: len(sge.qstat()) == 3 and len({row[0] for row in sge.qstat()}) == 2, 60.0)
    run.until_said("3 running, 3 of 3 workers registered")
    sge.run(["qdel", f"{job}.2"])
    run.until_said("somebody cancelled the job")
    # It said goodbye when it was warned, and was not killed.
    assert sge.ending(job, 2) == (0, 140)
    assert run.interrupt() == 0
    sge.assert_clean()


def test_walltime_ends_a_worker_after_its_goodbye(sge, dlaunch):
    run = dlaunch("-n", "1", "--name", "short", "--wait", "all", "--walltime", "4s")
    run.until_said("1 of 1 workers registered")
    job = sge.qstat()[0][0]
    run.until_said("timeout on", timeout_s=60)
    assert sge.ending(job, 1)[0] == 37
    assert run.interrupt() == 0
    sge.assert_clean()


def test_what_a_killed_launcher_left_is_cleaned_up_by_stop(sge, dlaunch):
    run = dlaunch("-n", "2", "--name", "orphan", "--wait", "all")
    run.until_said("2 workers are there")
    run.process.kill()
    run.process.wait()
    until_sync(lambda: "dead" in sge.run(["dlaunch", "list"]).stdout, 30.0, what="the cluster to be listed as dead")
    assert "cleaned up" in sge.run(["dlaunch", "stop", "orphan"]).stdout
    sge.assert_clean()
    assert "orphan" not in folders(sge)


def test_stop_ends_a_cluster_from_another_shell(sge, dlaunch):
    run = dlaunch("-n", "2", "--name", "other", "--wait", "all")
    run.until_said("2 workers are there")
    assert sge.run(["dlaunch", "stop", "other"]).stdout == "other has ended\n"
    assert run.process.wait(timeout=20) == 0
    sge.assert_clean()


def test_variables_of_a_job_around_us_do_not_leak(sge, dlaunch):
    around = {"JOB_ID": "1", "SGE_TASK_ID": "99", "NSLOTS": "31", "PE": "mpi", "DLAUNCH_ARRAY_INDEX": "7"}
    run = dlaunch("-n", "2", "--name", "inner", "--wait", "all", env=around)
    run.until_said("2 workers are there")
    assert sorted(row[3] for row in sge.qstat()) == ["1", "2"]
    assert run.interrupt() == 0
    sge.assert_clean()


def test_hostile_paths_and_several_workers_per_job(sge, dlaunch, sge_workdir):
    logs = sge_workdir / "l %j $HOME 'q' \"d\""
    run = dlaunch(
        *("-n", "4", "--workers-per-job", "2", "--nthreads", "2", "--name", "2odd", "--wait", "all"),
        *("--log-dir", str(logs), "--env", "ODD=a 'b' $c", "--walltime", "1h", "--mem", "100MB"),
    )
    run.until_said("4 workers are there")
    code = (
        "import os; from distributed import Client; c = Client(cluster='2odd');"
        "print(sorted(c.ncores().values()), c.submit(os.getenv, 'ODD').result()); c.close()"
    )
    assert sge.run(["python", "-c", code]).stdout == "[2, 2, 2, 2] a 'b' $c\n"
    assert sge.run(["ls", str(logs)]).stdout.split() == ["2odd.1.log", "2odd.2.log"]
    assert {row[2].partition("@")[0] for row in sge.qstat()} == {"main.q"}
    assert run.interrupt() == 0
    sge.assert_clean()


def test_the_python_twin(sge):
    code = f"""
from distributed import Client
from launchers import Sge
with Sge(n=4, queue="main.q", host={sge.head!r}, pe="smp") as cluster:
    assert cluster.wait_for_workers(4, timeout_s=60) == 4
    c = Client(cluster)
    {MAP_BODY.strip().replace(chr(10), chr(10) + "    ")}
    cluster.scale(2)
"""
    done = sge.run(["python", "-W", "error", "-c", code], timeout_s=120)
    assert done.stdout.split() == [SUM_OF_SQUARES, "4"]
    sge.assert_clean()
