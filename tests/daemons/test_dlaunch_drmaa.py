"""``dlaunch sge --via drmaa`` and ``dlaunch drmaa`` on a played library in front of a played Grid Engine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from launchers import Drmaa, Sge
from launchers.fakes.batch import Fault
from launchers.fakes.drmaa import NO_LIBRARY, STATIC_TLS, install_drmaa
from launchers.fakes.sge import OUTAGE, install_sge
from tests.aio import until_sync

RUN = "import sys; from launchers.cli import main; sys.exit(main())"
SUM = "from distributed import Client; c = Client(); print(sum(c.gather(c.map(abs, range(100))))); c.close()"
WAYS = (("sge", "--via", "drmaa"), ("drmaa",))


@pytest.fixture
def batch(tmp_path):
    batch = install_sge(tmp_path / "sge", runs=True, kill_wait_s=5.0)
    yield batch
    batch.close()


@pytest.fixture
def library(batch, tmp_path):
    return install_drmaa(tmp_path / "python", batch)


@pytest.fixture
def dlaunch(batch, library, tmp_path):
    env = {**os.environ, "PATH": f"{batch.programs}:{os.environ['PATH']}", "DLAUNCH_HOME": str(tmp_path / "home")}
    env |= {"PYTHONPATH": os.pathsep.join([str(library.path), *sys.path]), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    env.pop("DRMAA_LIBRARY_PATH", None)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", RUN, arguments[0], "--host", "127.0.0.1", *arguments[1:]]
        return subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)

    return run


def in_queue(batch):
    return [job.id for job in batch.jobs().values() if job.pid or job.state in ("PENDING", "RUNNING", "COMPLETING")]


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_from_the_submission_to_the_end(batch, dlaunch, way):
    done = dlaunch(*way, "-n", "2", "--wait", "all", "--name", "c", "--", sys.executable, "-c", SUM)
    assert (done.returncode, done.stdout) == (0, "4950\n"), done.stderr
    submissions = [call for call in batch.calls("qsub") if call.stdin]
    assert len(submissions) == 1
    assert not [name for name in submissions[0].variables if name.startswith(("GLIBC_TUNABLES", "DLAUNCH_C"))]
    until_sync(lambda: in_queue(batch) == [], 5.0)  # the played system notes the end of a process a moment later


def test_what_the_library_refuses_is_told_with_the_line(dlaunch):
    done = dlaunch("sge", "--via", "drmaa", "-n", "2", "--queue", "nope.q")
    assert done.returncode == 5
    assert 'sge refused the jobs: Job was rejected because job requests unknown queue "nope.q"' in done.stderr
    assert "of the jobscript: #$ -q nope.q" in done.stderr


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_a_passing_outage_is_waited_out(batch, dlaunch, way):
    batch.order(Fault("qsub", 1, stderr=OUTAGE[0].stderr, argument="-terse"))
    done = dlaunch(*way, "-n", "1", "--wait", "all", "--", "true")
    if way[0] == "sge":  # which finds by name what may have been taken
        assert done.returncode == 0, done.stderr
        assert "does not take jobs now" in done.stderr
    else:
        assert done.returncode == 5
        assert "perhaps the jobs are there all the same: look for them first" in done.stderr


def test_a_library_that_crashes_has_not_lost_the_jobs(batch, library, dlaunch):
    library.crash_once()
    done = dlaunch("sge", "--via", "drmaa", "-n", "2", "--wait", "all", "--", sys.executable, "-c", SUM)
    assert (done.returncode, done.stdout) == (0, "4950\n"), done.stderr
    assert "the DRMAA library crashed by signal 11" in done.stderr
    assert "the batch system had taken the jobs all the same: 1" in done.stderr
    assert len([call for call in batch.calls("qsub") if call.stdin]) == 1, "not submitted twice"
    until_sync(lambda: in_queue(batch) == [], 5.0)  # the played system notes the end of a process a moment later


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("ModuleNotFoundError(\"No module named 'drmaa'\", name='drmaa')", "pip install 'dlaunch[drmaa]'"),
        (NO_LIBRARY, "DRMAA_LIBRARY_PATH"),
        (STATIC_TLS, "set LD_PRELOAD=/lib/x86_64-linux-gnu/libjemalloc.so.2"),
    ],
    ids=["package", "library", "tls"],
)
def test_what_is_missing_is_one_sentence_before_anything_starts(batch, library, dlaunch, tmp_path, way, error, words):
    library.break_import(error)
    done = dlaunch(*way, "-n", "1")
    assert done.returncode == 127
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert batch.calls() == []
    assert not [*(tmp_path / "home").glob("*")]


def test_a_way_that_a_system_has_not_is_wrong_usage(dlaunch):
    done = dlaunch("slurm", "-n", "1", "--via", "drmaa")
    assert done.returncode == 2
    assert "--via drmaa: slurm is reached by commands; if it has a DRMAA library: dlaunch drmaa" in done.stderr


def test_from_python():
    assert "#$ -q all.q" in Sge.dry_run(4, via="drmaa", queue="all.q")
    assert "#DRMAA jobName=" in Drmaa.dry_run(4)
