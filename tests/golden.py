"""The jobscripts that are kept whole in ``tests/data/golden``, and the command that writes them anew.

    python -m tests.golden

A test compares them with what the templates make; read the difference before you keep it.
"""

from __future__ import annotations

import dataclasses
import os
from functools import cache
from pathlib import Path
from unittest import mock

from launchers.hosts import Host
from launchers.jobscript import render_jobscript
from launchers.options import Settings
from launchers.session import make_plan

FOLDER = Path(__file__).parent / "data" / "golden"
PYTHON = "/home/ada/env/bin/python"
HOSTILE = "a 'b' \"c\" $HOME `id` $(id) \\ * ; & | < > # % {{ d }}\nline two\n\n"

CASES: dict[str, Settings] = {
    "slurm-plain": Settings(n=1, python=PYTHON),
    "slurm-full": Settings(
        n=64,
        name="sweep",
        workers_per_job=4,
        nthreads=2,
        mem=24 * 10**9,
        walltime=93784.0,
        queue="main",
        account="lab-7",
        prologue=("module load gcc/12", 'export SCRATCH="/scratch/$USER"'),
        env=(("OMP_PROC_BIND", "true"), ("DATA", "/data/set 1")),
        python=PYTHON,
        log_dir=Path("/home/ada/logs"),
        death_timeout=300.0,
    ),
    "slurm-overridden": Settings(
        n=8,
        name="sweep",
        mem=2**30,
        queue="main",
        directive=("-p gpu", "#SBATCH --mem-per-cpu=2G", "--gres=gpu:1", "-o/tmp/mine.%a"),
        python=PYTHON,
    ),
    "slurm-quoting": Settings(
        n=2,
        name="sweep",
        queue='q "x" \\ y',
        account="o'neil # lab",
        directive=("--comment='a b'",),
        env=(("QUOTED", HOSTILE), ("EMPTY", ""), ("UNICODE", "Ωé\u2028")),
        python="/home/ada/my env/$x/bin/python",
        log_dir=Path('/home/ada/50%j logs/o\'neil "x"'),
    ),
    "ssh-plain": Settings(n=2, python=PYTHON, own={"hosts": (Host("n1"), Host("n2"))}),
    "ssh-full": Settings(
        n=4,
        name="sweep",
        workers_per_job=2,
        directive=("-o Port=2222", "#SSH -J gate"),
        env=(("QUOTED", HOSTILE),),
        python=PYTHON,
        own={"hosts": (Host("n1"), Host("n2")), "min-hosts": 1},
    ),
    "sge-plain": Settings(n=1, python=PYTHON),
    "sge-full": Settings(
        n=64,
        name="sweep",
        workers_per_job=4,
        nthreads=2,
        mem=24 * 10**9,
        walltime=93784.0,
        queue="all.q",
        account="lab-7",
        prologue=("module load gcc/12", 'export SCRATCH="/scratch/$USER"'),
        env=(("OMP_PROC_BIND", "true"), ("DATA", "/data/set 1")),
        python=PYTHON,
        log_dir=Path("/home/ada/logs"),
        death_timeout=300.0,
        own={"pe": "shm", "mem-resource": "h_vmem/slot,mem_free/job"},
    ),
    "sge-overridden": Settings(
        n=8,
        name="2nd",
        mem=2**30,
        queue="all.q",
        walltime=3600.0,
        directive=("-q gpu.q@@fast", "#$ -l h_rt=0:10:0,gpu=1", "-l h_vmem=2G", "-o /tmp/mine.$TASK_ID"),
        python=PYTHON,
    ),
    "sge-quoting": Settings(
        n=2,
        name="sweep",
        queue="q x",
        account="lab # 7",
        directive=('-ac "a=x y"',),
        env=(("QUOTED", HOSTILE), ("EMPTY", ""), ("UNICODE", "Ωé\u2028")),
        python="/home/ada/my env/$x/bin/python",
        log_dir=Path('/home/ada/50%j logs/o\'neil "x"'),
    ),
    "drmaa-plain": Settings(n=1, python=PYTHON),
    "drmaa-full": Settings(
        n=64,
        name="7sweep",
        workers_per_job=4,
        nthreads=2,
        mem=24 * 10**9,
        walltime=93784.0,
        directive=("-q long", "#DRMAA -l mem=24G -pe smp 8"),
        prologue=("module load gcc/12", 'export SCRATCH="/scratch/$USER"'),
        env=(("OMP_PROC_BIND", "true"), ("QUOTED", HOSTILE)),
        python=PYTHON,
        log_dir=Path("/home/ada/logs"),
    ),
    "drmaa-quoting": Settings(
        n=2,
        name="sweep",
        env=(("QUOTED", HOSTILE), ("EMPTY", ""), ("UNICODE", "Ωé\u2028")),
        python="/home/ada/my env/$x/bin/python",
        log_dir=Path('/home/ada/50%j logs/o\'neil "x"'),
    ),
    "torque-plain": Settings(n=1, python=PYTHON),
    "torque-full": Settings(
        n=64,
        name="7sweep",
        workers_per_job=4,
        nthreads=2,
        mem=24 * 10**9,
        walltime=93784.0,
        queue="main",
        account="lab-7",
        prologue=("module load gcc/12",),
        env=(("DATA", "/data/set 1"),),
        python=PYTHON,
        log_dir=Path("/home/ada/logs"),
    ),
    "torque-quoting": Settings(
        n=2,
        name="sweep",
        directive=("-l nodes=1:ppn=2:gpus=1,walltime=1:00:00", "-m n"),
        mem=2**30,
        walltime=60.0,
        env=(("QUOTED", HOSTILE),),
        python="/home/ada/my env/$x/bin/python",
        log_dir=Path('/home/ada/50%j logs/o\'neil "x" $y'),
    ),
    "pbs-plain": Settings(n=1, python=PYTHON),
    "pbs-full": Settings(
        n=64,
        name="sweep",
        workers_per_job=4,
        nthreads=2,
        mem=24 * 10**9,
        walltime=360000.0,
        queue="main",
        account="lab-7",
        prologue=("module load gcc/12",),
        env=(("DATA", "/data/set 1"), ("QUOTED", HOSTILE)),
        python=PYTHON,
        log_dir=Path("/home/ada/my logs"),
    ),
    "pbs-overridden": Settings(
        n=8,
        name="sweep",
        mem=2**30,
        queue="main",
        directive=("-q gpu", "-l select=1:ncpus=4:ngpus=1:mem=8gb", "-W umask=022"),
        walltime=60.0,
        python=PYTHON,
    ),
    "local-plain": Settings(n=4, python=PYTHON),
    "local-full": Settings(
        n=8,
        name="sweep",
        workers_per_job=4,
        nthreads=2,
        mem=4 * 2**30,
        prologue=("ulimit -c 0",),
        env=(("QUOTED", HOSTILE),),
        python=PYTHON,
    ),
}


@cache
def rendered(case: str) -> str:
    """Return the jobscript of a case, as ``dlaunch`` makes it for ada, with a job name that stays the same."""
    with mock.patch.dict(os.environ, {"DLAUNCH_HOME": "/home/ada/.dlaunch", "XDG_CONFIG_HOME": "/nonexistent"}):
        # Those without a name are the ones that users submit themselves.
        plan = make_plan(case.partition("-")[0], CASES[case], dry_run=CASES[case].name is None)
        spec = plan.spec
        if not spec.by_hand:
            spec = dataclasses.replace(spec, job_name=f"{spec.name}-0001")
        return render_jobscript(plan.plugin, spec, [])


def path_of(case: str) -> Path:
    """Return the file of a case."""
    return FOLDER / f"{case}.sh"


def main() -> None:
    """Write all files anew."""
    FOLDER.mkdir(exist_ok=True)
    for case in CASES:
        path_of(case).write_text(rendered(case))


if __name__ == "__main__":
    main()
