"""The sample of a plugin by others, installed as they would and found by its entry point."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "lsf-plugin"
BROKEN = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "dlaunch-broken"
version = "0"
[project.entry-points."dlaunch.launchers"]
broken = "no_such_module:Plugin"
[tool.setuptools]
py-modules = []
"""
SUM = "from distributed import Client; c = Client(); print(sum(c.gather(c.map(abs, range(100))))); c.close()"
PLAYED = """
import sys
from pathlib import Path
from played_lsf import install_lsf
batch = install_lsf(Path(sys.argv[1]), runs=True)
print(batch.programs, flush=True)
sys.stdin.read()
batch.close()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which the sample, and a plugin that cannot be loaded, are installed by pip."""
    folder = tmp_path_factory.mktemp("installed")
    # Built from copies: setuptools leaves its folders beside the sources.
    sample = shutil.copytree(SAMPLE, tmp_path_factory.mktemp("sample") / "sample")
    broken = tmp_path_factory.mktemp("broken")
    (broken / "pyproject.toml").write_text(BROKEN)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-index"]
    argv = [sys.executable, "-m", "pip", "install", *options, "--target", folder, sample, broken]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(installed, tmp_path):
    """``run(*argv)`` runs a Python program that finds what is installed there."""
    path = os.pathsep.join([str(installed), str(ROOT)])

    def start(*argv, env=None, **kw):
        env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        return subprocess.run(
            [sys.executable, *argv],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            **kw,
        )

    return start


def test_dlaunch_finds_it(run):
    done = run("-m", "launchers.cli", "lsf", "-n", "2", "--walltime", "90m", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("#!/bin/bash\n#BSUB -J default[1-2]\n")
    assert "#BSUB -W 90\n" in done.stdout
    assert "exec" in done.stdout.splitlines()[-6]


def test_an_unknown_name_is_answered_with_all_known_ones(run):
    done = run("-m", "launchers.cli", "nope", "-n", "2")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert "there is no launcher 'nope'; known are: broken, config" in last
    assert all(f" {name}," in last for name in ("lsf", "local", "pbs", "sge", "slurm", "ssh"))


def test_a_plugin_that_cannot_be_loaded_hides_no_other(run):
    done = run("-m", "launchers.cli", "broken", "-n", "2")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "dlaunch: the launcher 'broken' of the package dlaunch-broken cannot be loaded: ModuleNotFoundError: No module "
        "named 'no_such_module'; install that package anew, or remove it\n"
    )
    assert "lsf" in run("-m", "launchers.cli", "--help").stdout
    assert run("-m", "launchers.cli", "config", "lsf").returncode == 0


@pytest.mark.timeout(120)
def test_its_own_tests_pass(run, tmp_path):
    tests = shutil.copytree(SAMPLE / "tests", tmp_path / "tests")
    shutil.copy(SAMPLE / "pyproject.toml", tmp_path)
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tests)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout.splitlines()[-1]


def test_a_cluster_works_on_it(run, installed, tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SAMPLE / "tests"), str(ROOT)])}
    argv = [sys.executable, "-c", PLAYED, tmp_path / "lsf"]
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as played:
        programs = played.stdout.readline().strip()
        words = ["-n", "2", "--host", "127.0.0.1", "--wait", "all", "--", sys.executable, "-c", SUM]
        done = run("-m", "launchers.cli", "lsf", *words, env={"PATH": f"{programs}:{os.environ['PATH']}"})
        assert (done.returncode, done.stdout) == (0, "4950\n"), done.stderr
        played.stdin.close()
        assert played.wait(20) == 0
