"""Whole jobscripts: what a cluster user reads, what bash makes of it, and what dworker is told."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache

import pytest

from distributed.cli import dworker
from jobscripts.rendering import FOLDER
from tests.golden import CASES, HOSTILE, PYTHON, path_of, rendered

PATHS = [str(path_of(case)) for case in CASES]
# Quoted values of users are not meant to be expanded.
SHELLCHECK = ("shellcheck", "--shell=bash", "--severity=style", "--exclude=SC2016")


@pytest.mark.parametrize("case", CASES)
def test_the_script_is_the_one_that_was_kept(case):
    assert rendered(case) == path_of(case).read_text(), "if it shall be so: python -m tests.golden"


def test_every_template_and_every_file_has_a_case():
    systems = {path.name.removesuffix(".sh.j2") for path in FOLDER.glob("*.sh.j2")} - {"base"}
    assert {case.partition("-")[0] for case in CASES} == systems
    assert {path.stem for path in path_of("x").parent.iterdir()} == set(CASES)


def test_bash_reads_every_script():
    subprocess.run(["bash", "-c", 'for file; do bash -n "$file" || exit 1; done', "_", *PATHS], check=True)


def test_shellcheck_has_nothing_to_say():
    if shutil.which("shellcheck") is None:
        pytest.fail("shellcheck is not in PATH: ./check installs it (apt-get install shellcheck)", pytrace=False)
    done = subprocess.run([*SHELLCHECK, *PATHS], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


def test_nothing_in_a_script_is_a_secret():
    for case in CASES:
        text = rendered(case)
        assert not re.search(r"secret|[0-9a-fA-F]{24}", text)
        assert "/cluster.json" in text


@cache
def run(case: str) -> tuple[list[str], dict[str, str]]:
    """Run a script up to its ``exec``; return the words of that and the environment."""
    show = (
        'module() { :; }; exec() { printf "%s\\0" "$@"; printf "\\1\\0"; env -0; exit; }; . <(grep -v "^exec >>" "$1")'
    )
    env = {"PATH": os.environ["PATH"], "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "3", "USER": "ada"}
    env |= {"JOB_ID": "77", "SGE_TASK_ID": "3"}
    env |= {"PBS_JOBID": "77[3].server", "PBS_ARRAYID": "3", "PBS_ARRAY_INDEX": "3"}
    if case.startswith(("local", "ssh")):
        env["DLAUNCH_ARRAY_INDEX"] = "3"
    done = subprocess.run(["bash", "-c", show, "_", path_of(case)], env=env, capture_output=True, text=True, check=True)
    words, _, rest = done.stdout.partition("\1\0")
    pairs = [entry.partition("=") for entry in rest.split("\0") if entry]
    return words.split("\0")[:-1], {key: value for key, _, value in pairs}


@pytest.mark.parametrize("case", CASES)
def test_dworker_understands_its_command_line(case):
    words, env = run(case)
    settings = CASES[case]
    name = settings.name or "default"
    assert words[:3] == [settings.python, "-m", "distributed.cli.dworker"]
    told = dworker.command.make_context("dworker", words[3:]).params
    # What users submit themselves, perhaps twice, is told apart by its job.
    assert told["name"] == (f"{name}.3" if settings.name else told["job_id"])
    assert told["nthreads"] == settings.nthreads
    assert told["nprocs"] == settings.workers_per_job
    assert told["cluster_file"] == f"/home/ada/.dlaunch/{name}/cluster.json"
    assert told["death_timeout"] == settings.death_timeout
    assert told["memory_limit"] == (settings.mem // settings.workers_per_job if settings.mem else "auto")
    assert told["job_id"] == env["DLAUNCH_JOB_ID"]
    assert env["DLAUNCH_ARRAY_INDEX"] == "3"
    if case.startswith("slurm"):
        assert told["job_id"] == "77_3"
    if case.startswith("sge"):
        assert told["job_id"] == "77.3"
        assert env["DLAUNCH_END_SIGNALS"] == "USR2"
    if case.startswith(("torque", "pbs")):
        assert told["job_id"] == "77[3].server"


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case].env])
def test_values_arrive_as_they_are(case):
    _, env = run(case)
    for key, value in CASES[case].env:
        assert env[key] == value
    assert HOSTILE.count("\n") == 3


def test_the_users_own_lines_come_first():
    words, env = run("slurm-full")
    assert words[0] == PYTHON
    assert env["SCRATCH"] == "/scratch/ada"


@pytest.mark.parametrize(
    ("case", "hint"),
    [
        ("slurm-plain", "sbatch --array=1-N"),
        ("torque-plain", "qsub -t 1-N"),
        ("pbs-full", "qsub -J 1-N"),
        ("sge-plain", "qsub -t 1-N"),
        ("local-plain", "number of the worker"),
    ],
)
def test_a_script_that_was_started_the_wrong_way_says_so(case, hint):
    done = subprocess.run(
        ["bash", path_of(case)], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert hint in done.stderr


def test_a_users_directive_wins_over_ours():
    lines = [line for line in rendered("slurm-overridden").splitlines() if line.startswith("#SBATCH")]
    assert lines[-4:] == [
        "#SBATCH -p gpu",
        "#SBATCH --mem-per-cpu=2G",
        "#SBATCH --gres=gpu:1",
        "#SBATCH -o/tmp/mine.%a",
    ]
    assert not any(re.search(r"--(partition|mem|output)=", line) for line in lines)
    assert any("--cpus-per-task=1" in line for line in lines)


def test_directives_come_before_the_first_command():
    for case in CASES:
        body = rendered(case).partition("\n\n")[2]
        assert not re.search("#SBATCH|#PBS", body)
