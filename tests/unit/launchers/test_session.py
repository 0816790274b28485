from __future__ import annotations

import re

import pytest

from distributed.clusterfile import home
from distributed.errors import ConfigError
from launchers import config
from launchers.errors import MissingVariableError, UnknownLauncherError
from launchers.session import make_plan, resolve_settings


@pytest.fixture(autouse=True)
def no_site(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "SITE_FOLDER", tmp_path / "etc")


def plan(system="slurm", dry_run=False, **given):
    given = {key.replace("_", "-"): value for key, value in {"n": 4, **given}.items()}
    return make_plan(system, resolve_settings(system, given), dry_run=dry_run)


def last_words(script: str) -> str:
    return script.replace(" \\\n   ", "").rstrip().splitlines()[-1]


def test_a_plan_touches_nothing():
    made = plan()
    assert re.fullmatch(r"slurm-[0-9a-f]{6}", made.folder.name)
    assert not made.folder.path.exists()
    assert list(home().iterdir()) == []


def test_the_worker_command_holds_all_that_a_worker_must_know():
    made = plan(name="c", workers_per_job=2, nthreads=3, mem="4GB", python="/py", death_timeout="90s")
    assert last_words(made.script) == (
        f"exec /py -m distributed.cli.dworker --cluster-file {made.folder.cluster_file} "
        '--name "c.${DLAUNCH_ARRAY_INDEX}" --nthreads 3 --nprocs 2 --memory-limit 2000000000 --death-timeout 90s '
        '--job-id "${DLAUNCH_JOB_ID}"'
    )
    assert "#SBATCH --cpus-per-task=6\n" in made.script
    assert "#SBATCH --array=1-2\n" in made.script


def test_a_chosen_name_gets_a_job_name_of_its_own_for_each_run():
    names = {plan(name="c").spec.job_name for _ in range(5)}
    assert len(names) > 1
    assert all(re.fullmatch(r"c-[0-9a-f]{4}", name) for name in names)
    made = plan()
    assert made.spec.job_name == made.folder.name


def test_a_dry_run_is_for_the_default_cluster_and_may_be_submitted_twice():
    made = plan(dry_run=True)
    assert made.folder.name == made.spec.job_name == "default"
    assert '--name "${DLAUNCH_JOB_ID}"' in last_words(made.script)
    named = plan(dry_run=True, name="c")
    assert f"--cluster-file {home()}/c/cluster.json" in last_words(named.script)
    assert named.spec.job_name == "c"


def test_variables_are_taken_from_here(monkeypatch):
    monkeypatch.setenv("TOKEN_OF_MINE", "it's")
    made = plan(env=["TOKEN_OF_MINE", "B=2"])
    assert "export TOKEN_OF_MINE='it'\"'\"'s'\nexport B=2\n" in made.script


@pytest.mark.parametrize(
    ("system", "given", "said"),
    [
        ("slurm", {"env": ["NOT_SET_HERE"]}, "no such variable here"),
        ("slurm", {"directive": ["--array=1-9"]}, "-n and --workers-per-job"),
        ("slurm", {"directive": ["constraint"]}, "does not begin with an option"),
        ("slurm", {"template": "/no/such.j2"}, "there is no template"),
        ("local", {"queue": "x"}, "--queue means nothing"),
        ("local", {"walltime": "1h"}, "--walltime means nothing"),
        ("local", {"directive": ["-C x"]}, "has no directives"),
    ],
)
def test_what_cannot_be_planned(system, given, said):
    with pytest.raises(ConfigError, match=said):
        plan(system, **given)


def test_an_unknown_system():
    with pytest.raises(UnknownLauncherError):
        plan("slrum")


def test_the_users_template_wins_over_ours_and_the_option_over_both(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "dlaunch" / "jobscripts"
    folder.mkdir(parents=True)
    (folder / "slurm.sh.j2").write_text('#!/bin/sh\n# of the user\nexec {{ command | join(" ") }}\n')
    assert plan().script.startswith("#!/bin/sh\n# of the user\nexec ")
    other = tmp_path / "other.sh.j2"
    other.write_text('{% extends "base.sh.j2" %}{% block directives %}\n#SBATCH --mine\n{% endblock %}')
    assert "#SBATCH --mine\n" in plan(template=str(other)).script


def test_an_undefined_variable_is_told_with_template_and_line(tmp_path):
    template = tmp_path / "t.sh.j2"
    template.write_text("#!/bin/sh\n{{ qeue }}\n")
    with pytest.raises(MissingVariableError, match=r"t\.sh\.j2, line 2: .*'qeue' is not defined; did you mean queue"):
        plan(template=str(template))
