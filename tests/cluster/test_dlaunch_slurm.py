"""``dlaunch slurm`` on a real SLURM, as a normal user on the head node."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
import pytest

from tests.aio import until_sync
from tests.cluster.dlaunch_runs import MAP, MAP_BODY, SUM_OF_SQUARES, folders, starting


@pytest.fixture
def dlaunch(slurm, tmp_path_factory):
    """``dlaunch(*arguments)``: start it as the normal user; nothing of it may be left at the end."""
    with starting(slurm, tmp_path_factory, "dlaunch", "slurm") as start:
        yield start


def test_sixty_four_workers_do_ten_thousand_tasks_and_leave_nothing(slurm, dlaunch):
    run = dlaunch("-n", "64", "--name", "big", "--wait", "all")
    run.until_said("64 workers are there", timeout_s=90)
    rows = slurm.squeue("-u", slurm.user)
    assert {state for _, state, *_ in rows} == {"RUNNING"}
    assert len({row[0].partition("_")[0] for row in rows}) == 1, "one array, one submission"
    assert run.stderr.count("submitted 64 jobs:") == 1
    done = slurm.run(["python", "-c", f"from distributed import Client\nc = Client(cluster='big')\n{MAP_BODY}"])
    assert done.stdout.split() == [SUM_OF_SQUARES, "64"]
    assert run.interrupt() == 0
    assert slurm.squeue("-u", slurm.user) == []
    slurm.assert_clean()
    assert "big" not in folders(slurm)


def test_sixteen_of_sixty_four_workers_die_in_the_middle(slurm, dlaunch, workdir):
    run = dlaunch("-n", "64", "--name", "risky", "--wait", "all")
    run.until_said("64 workers are there", timeout_s=90)
    script = workdir / "script.py"
    slurm.run(["tee", script], input=DEPENDENT_MAP)
    log = workdir / "out"
    with log.open("w") as out, slurm.popen(["python", script], stdout=out, stderr=out) as process:
        until_sync(lambda: "going" in log.read_text(), 30)
        workers = [p for p in slurm.processes() if any(f"risky.{i}" in p.cmdline() for i in range(1, 17))]
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        assert process.wait(timeout=90) == 0, log.read_text()
    assert log.read_text().split()[-1] == str(sum(2 * x + 1 for x in range(640)))
    assert run.interrupt() == 0
    slurm.assert_clean()


DEPENDENT_MAP = """
import time
from distributed import Client

def double(x):
    time.sleep(0.2)
    return 2 * x

def add_one(x):
    time.sleep(0.2)
    return x + 1

with Client(cluster="risky") as client:
    futures = client.map(add_one, client.map(double, range(640)))
    time.sleep(1)
    print("going", flush=True)
    print(sum(client.gather(futures)))
"""


def test_a_stranger_is_refused(slurm, dlaunch, workdir):
    run = dlaunch("-n", "1", "--name", "closed", "--wait", "all")
    run.until_said("1 worker is there")
    address = run.stdout.split()[3]
    # Whoever shares the home folder would find the cluster's secret by its address.
    elsewhere = {"DLAUNCH_HOME": str(workdir / "elsewhere")}
    done = slurm.run(["dworker", address, "--death-timeout", "2s"], env=elsewhere, check=False, timeout_s=30)
    assert done.returncode == 1, done.stderr
    assert "secret" in done.stderr
    assert run.interrupt() == 0
    slurm.assert_clean()


def test_a_controller_that_is_down_is_waited_for_until_ctrl_c(slurm, dlaunch, workdir):
    conf = workdir / "slurm.conf"
    text = Path("/etc/slurm/slurm.conf").read_text().replace("SlurmctldPort=6817", "SlurmctldPort=6819")
    slurm.run(["tee", conf], input=text)
    run = dlaunch("-n", "2", env={"SLURM_CONF": str(conf)})
    run.until_said("the batch system does not take jobs now: sbatch: error: ")
    run.until_said("submission failed 1 times, next try in 2 s")
    assert run.interrupt() == 0
    slurm.assert_clean()


def test_a_command_finds_the_cluster_and_gives_its_exit_code(slurm, dlaunch, workdir):
    script = workdir / "script.py"
    slurm.run(["tee", script], input=f"{MAP}\nsys.exit(9)\n")
    run = dlaunch("-n", "4", "--wait", "all", "--", "python", str(script), cwd=workdir)
    assert run.process.wait(timeout=90) == 9, run.stderr
    assert run.stdout.split() == [SUM_OF_SQUARES]
    slurm.assert_clean()


def test_an_unknown_partition_is_told_in_slurms_words_with_the_line(slurm, dlaunch):
    run = dlaunch("-n", "2", "--queue", "nowhere")
    assert run.process.wait(timeout=60) == 5
    assert "Invalid partition name specified" in run.stderr
    assert "#SBATCH --partition=nowhere" in run.stderr
    slurm.assert_clean()


def test_jobs_that_die_before_the_worker_are_explained(slurm, dlaunch):
    run = dlaunch("-n", "4", "--prologue", "echo no such module >&2; exit 7")
    assert run.process.wait(timeout=90) == 4
    assert "with exit code 7" in run.stderr
    assert "  no such module" in run.stderr
    assert ".1.log" in run.stderr or ".2.log" in run.stderr or ".3.log" in run.stderr
    slurm.assert_clean()


def test_waiting_jobs_are_shown_with_the_reason_and_cancelled(slurm, dlaunch):
    run = dlaunch("-n", "3", "--directive=--hold")
    run.until_said("3 pending (JobHeldUser: held by its user")
    assert run.interrupt() == 0
    assert slurm.squeue("-u", slurm.user) == []
    slurm.assert_clean()


def test_waiting_in_vain_ends_by_its_own_exit_code(slurm, dlaunch):
    run = dlaunch("-n", "2", "--directive=-H", "--wait", "1", "--wait-timeout", "3s")
    assert run.process.wait(timeout=60) == 6
    gave_up = next(line for line in run.stderr.splitlines() if "gave up waiting" in line)
    assert "0 of 1 workers are there after 3 s; 2 jobs wait in the queue (JobHeldUser: held by its user" in gave_up
    slurm.assert_clean()


def kill_worker(slurm, name: str) -> None:
    for process in slurm.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            if name in process.cmdline():
                process.kill()


def test_a_dead_worker_comes_back_and_a_cancelled_job_does_not(slurm, dlaunch):
    run = dlaunch("-n", "3", "--name", "phoenix", "--wait", "all")
    run.until_said("3 workers are there")
    first = {row[0] for row in slurm.squeue("-u", slurm.user)}
    kill_worker(slurm, "phoenix.1")
    run.until_said("it is submitted again in")
    until_sync(lambda: len(jobs := {r[0] for r in slurm.squeue("-u", slurm.user)}) == 3 and jobs != first, 60.0)
    run.until_said("3 running, 3 of 3 workers registered")
    slurm.run(["scancel", next(job for job in first if job.endswith("_2"))])
    run.until_said("somebody cancelled the job")
    assert run.interrupt() == 0
    slurm.assert_clean()


def test_what_a_killed_launcher_left_is_cleaned_up_by_stop(slurm, dlaunch):
    run = dlaunch("-n", "2", "--name", "orphan", "--wait", "all")
    run.until_said("2 workers are there")
    run.process.kill()
    run.process.wait()
    until_sync(lambda: "dead" in slurm.run(["dlaunch", "list"]).stdout, 30.0, what="the cluster to be listed as dead")
    assert "cleaned up" in slurm.run(["dlaunch", "stop", "orphan"]).stdout
    slurm.assert_clean()
    assert "orphan" not in folders(slurm)


def test_stop_ends_a_cluster_from_another_shell(slurm, dlaunch):
    run = dlaunch("-n", "2", "--name", "other", "--wait", "all")
    run.until_said("2 workers are there")
    assert slurm.run(["dlaunch", "stop", "other"]).stdout == "other has ended\n"
    assert run.process.wait(timeout=20) == 0
    slurm.assert_clean()


def test_variables_of_a_job_around_us_do_not_leak(slurm, dlaunch):
    around = {
        "SLURM_JOB_ID": "1",
        "SLURM_ARRAY_TASK_ID": "99",
        "SLURM_CPUS_PER_TASK": "31",
        "SLURM_MEM_PER_NODE": "99999999",
        "SBATCH_ARRAY_INX": "7-9",
        "SBATCH_TIMELIMIT": "nonsense",
    }
    run = dlaunch("-n", "2", "--name", "inner", "--wait", "all", env=around)
    run.until_said("2 workers are there")
    assert sorted(row[0].partition("_")[2] for row in slurm.squeue("-u", slurm.user)) == ["1", "2"]
    assert run.interrupt() == 0
    slurm.assert_clean()


def test_hostile_paths_and_several_workers_per_job(slurm, dlaunch, workdir):
    logs = workdir / "l %j $HOME 'q' \"d\""
    run = dlaunch(
        *("-n", "4", "--workers-per-job", "2", "--nthreads", "2", "--name", "odd", "--wait", "all"),
        *("--log-dir", str(logs), "--env", "ODD=a 'b' $c", "--walltime", "1h"),
    )
    run.until_said("4 workers are there")
    code = (
        "import os; from distributed import Client; c = Client(cluster='odd');"
        "print(sorted(c.ncores().values()), c.submit(os.getenv, 'ODD').result()); c.close()"
    )
    assert slurm.run(["python", "-c", code]).stdout == "[2, 2, 2, 2] a 'b' $c\n"
    listed = slurm.run(["ls", str(logs)]).stdout.split()
    assert listed == ["odd.1.log", "odd.2.log"]
    assert run.interrupt() == 0
    slurm.assert_clean()


def test_the_python_twin(slurm):
    code = f"""
from distributed import Client
from launchers import Slurm
with Slurm(n=4, queue="main") as cluster:
    assert cluster.wait_for_workers(4, timeout_s=60) == 4
    c = Client(cluster)
    {MAP_BODY.strip().replace(chr(10), chr(10) + "    ")}
    cluster.scale(2)
"""
    done = slurm.run(["python", "-W", "error", "-c", code], timeout_s=120)
    assert done.stdout.split() == [SUM_OF_SQUARES, "4"]
    slurm.assert_clean()
