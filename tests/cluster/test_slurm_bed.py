"""The bed itself: what a real SLURM does with real submissions, without any code of the project."""

from __future__ import annotations

import os
import signal

import pytest

from tests.aio import until_sync
from tests.beds.slurm import NODES


@pytest.fixture
def sbatch(slurm, workdir):
    """``sbatch(body, *options)``: submit a script, return the job id; cancelled at the end."""
    jobs = []

    def submit(body: str, *options: str) -> str:
        done = slurm.run(["sbatch", "--parsable", *options], input=f"#!/bin/bash\n{body}\n", cwd=workdir)
        jobs.append(done.stdout.strip())
        return jobs[-1]

    yield submit
    for job in jobs:
        slurm.run(["scancel", job])


def wait_for_states(slurm, job: str, states: list[str]) -> None:
    until_sync(lambda: slurm.states(job) == states, 30.0, what=f"job {job} to be {states}")


def test_an_array_of_eight_runs_each_index_once(slurm, sbatch, workdir):
    job = sbatch("echo $SLURM_ARRAY_TASK_ID", "--array=1-8")
    wait_for_states(slurm, job, ["COMPLETED"] * 8)
    outputs = [(workdir / f"slurm-{job}_{index}.out").read_text() for index in range(1, 9)]
    assert outputs == [f"{index}\n" for index in range(1, 9)]


def test_a_job_runs_as_the_user_on_another_host(slurm, sbatch, workdir):
    job = sbatch("id -un; hostname; pwd", "-w", "hpc3")
    wait_for_states(slurm, job, ["COMPLETED"])
    output = (workdir / f"slurm-{job}.out").read_text()
    assert output.split() == [slurm.user, "hpc3", str(workdir)]


def test_four_nodes_offer_their_cpus(slurm):
    done = slurm.run(["sinfo", "-h", "-N", "-p", "main", "-o", "%N %c"])
    assert done.stdout.split() == [word for node in NODES for word in (node, "32")]


def test_one_task_of_an_array_is_cancelled_and_then_all(slurm, sbatch):
    job = sbatch("exec sleep 600", "--array=1-3")
    wait_for_states(slurm, job, ["RUNNING"] * 3)
    slurm.run(["scancel", f"{job}_2"])
    wait_for_states(slurm, job, ["CANCELLED", "RUNNING", "RUNNING"])
    slurm.run(["scancel", job])
    wait_for_states(slurm, job, ["CANCELLED"] * 3)
    assert slurm.squeue("-j", job) == []


def test_what_does_not_fit_is_pending_with_a_reason(slurm, sbatch):
    job = sbatch("exec sleep 600", "--nodes=9")
    until_sync(
        lambda: (
            slurm.squeue("-j", job)[0][1:3] == ["PENDING", "PartitionConfig"]
            or slurm.squeue("-j", job)[0][1:3] == ["PENDING", "PartitionNodeLimit"]
        ),
        what="a reason for the pending job",
    )


def test_a_failing_job_keeps_its_exit_code(slurm, sbatch):
    job = sbatch("exit 3")
    wait_for_states(slurm, job, ["FAILED"])
    shown = slurm.run(["scontrol", "-o", "show", "job", job]).stdout
    assert " ExitCode=3:0 " in shown


def test_an_unknown_partition_is_refused_at_once(slurm, workdir):
    done = slurm.run(["sbatch", "--partition=nowhere", "--wrap", "true"], cwd=workdir, check=False)
    assert done.returncode == 1
    assert "Invalid partition name specified" in done.stderr


ON_TERM = """exec python3 -u -c "
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit('term'))
print('on')
time.sleep(60)
"
"""


def test_a_job_that_execs_gets_term_at_cancel(slurm, sbatch, workdir):
    job = sbatch(ON_TERM)
    output = workdir / f"slurm-{job}.out"
    until_sync(lambda: output.exists() and output.read_text() == "on\n", what="the job to start")
    slurm.run(["scancel", job])
    wait_for_states(slurm, job, ["CANCELLED"])
    assert "term" in output.read_text()


def test_the_head_is_reached_from_a_node_and_loopback_is_not(slurm):
    assert slurm.on_node("hpc1", ["hostname"]).stdout == "hpc1\n"
    addresses = slurm.on_node("hpc1", ["ip", "-4", "-br", "addr"]).stdout
    assert "10.77.0.1/24" in addresses
    assert slurm.head not in addresses


def test_commands_run_in_a_clean_environment(slurm):
    shown = slurm.run(["env"], env={"WANTED": "yes"}).stdout
    variables = dict(line.split("=", 1) for line in shown.splitlines())
    assert variables.pop("WANTED") == "yes"
    assert set(variables) == {"HOME", "USER", "LOGNAME", "SHELL", "LANG", "PATH"}
    assert variables["HOME"] == str(slurm.home)
    assert os.getuid() == 0
    assert slurm.run(["id", "-u"]).stdout.strip() != "0"


def test_a_started_command_can_be_interrupted(slurm):
    loop = "trap 'echo got; exit 5' INT; echo on; while true; do sleep 0.1; done"
    with slurm.popen(["bash", "-c", loop]) as process:
        assert process.stdout.readline() == "on\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=10)[0] == "got\n"
    assert process.returncode == 5
    slurm.assert_clean()


def test_leftovers_are_seen(slurm):
    with slurm.popen(["sleep", "600"]) as process:
        until_sync(lambda: "sleep 600" in slurm.leftovers(), what="the process to be seen")
        with pytest.raises(AssertionError, match="left behind on the bed"):
            slurm.assert_clean(timeout_s=0.1)
        process.kill()
    slurm.assert_clean()


def test_the_projects_programs_are_installed_and_not_the_checkout(slurm):
    code = "import distributed, launchers, jobscripts; print(jobscripts.__file__)"
    shown = slurm.run(["python", "-c", code]).stdout
    assert shown.startswith("/opt/dlaunch-bed/venv/lib/")
    folder = slurm.run(["ls", shown.strip().removesuffix("__init__.py")]).stdout.split()
    assert {"base.sh.j2", "slurm.sh.j2", "py.typed"} <= set(folder)
