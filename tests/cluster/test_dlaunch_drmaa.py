"""``dlaunch sge --via drmaa`` and ``dlaunch drmaa`` on a real Grid Engine and its DRMAA library, as a normal user."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.aio import until_sync
from tests.cluster.dlaunch_runs import MAP_BODY, SUM_OF_SQUARES, folders, starting

N = "16" if os.environ.get("SGE_NETNS") == "0" else "64"


@pytest.fixture
def dlaunch(sge, tmp_path_factory):
    """``dlaunch(*arguments)``: start ``sge --via drmaa`` as the normal user; nothing of it may be left at the end."""
    with starting(sge, tmp_path_factory, "dlaunch", "sge", "--via", "drmaa", "--host", sge.head) as start:
        yield start


@pytest.fixture
def any_system(sge, tmp_path_factory):
    """``any_system(*arguments)``: the same for ``drmaa``, which must be told where the library is."""
    with starting(sge, tmp_path_factory, "dlaunch", "drmaa", "--host", sge.head) as start:
        around = {"DRMAA_LIBRARY_PATH": sge.drmaa_library, "SGE_ROOT": sge.root}
        yield lambda *arguments, **kw: start(*arguments, **{"env": around, **kw})


def test_waiting_jobs_are_shown_with_the_reason_and_cancelled(sge, dlaunch):
    run = dlaunch("-n", "3", "--directive=-h")
    run.until_said("3 pending (user_on_hold: held by its user")
    assert run.interrupt() == 0
    assert sge.qstat() == []
    sge.assert_clean()


def test_a_dead_worker_comes_back_and_a_cancelled_job_does_not(sge, dlaunch):
    run = dlaunch("-n", "3", "--name", "phoenix", "--wait", "all")
    run.until_said("3 workers are there")
    job = sge.qstat()[0][0]
    for process in sge.processes():
        if "phoenix.1" in process.cmdline():
            process.kill()
    run.until_said("it is submitted again in")
    until_sync(lambda: len(sge.qstat()) == 3 and len({row[0] for row in sge.qstat()}) == 2, 60.0)
    run.until_said("3 running, 3 of 3 workers registered")
    sge.run(["qdel", f"{job}.2"])
    run.until_said("somebody cancelled the job")
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


def test_a_library_that_is_not_there_is_named_before_anything_starts(sge, dlaunch):
    run = dlaunch("-n", "2", env={"DRMAA_LIBRARY_PATH": "/no/such/libdrmaa.so"})
    assert run.process.wait(timeout=60) == 127
    assert "DRMAA_LIBRARY_PATH=/no/such/libdrmaa.so cannot be loaded" in run.stderr
    assert sge.drmaa_library in run.stderr
    assert len(run.stderr.splitlines()) == 1
    sge.assert_clean()


def test_a_library_that_needs_to_be_loaded_first_is_named(sge, sge_workdir):
    """Without what our commands set for it, Grid Engine's library finds no room; the sentence says the cure."""
    where = "from importlib.util import find_spec as f; print(f('launchers.drmaa_call').origin)"
    program = sge.run(["python", "-c", where]).stdout.strip()
    ask = '{"variables": {}, "timeout_s": 20}'
    around = {"DRMAA_LIBRARY_PATH": sge.drmaa_library}
    failed = sge.run(["python", program, "check"], env=around, input=ask, check=False)
    assert failed.returncode == 69
    assert "static TLS" in failed.stderr
    cure = failed.stderr.partition("LD_PRELOAD=")[2].split()[0]
    assert cure.startswith("/")
    assert sge.run(["python", program, "check"], env={**around, "LD_PRELOAD": cure}, input=ask).returncode == 0


def test_the_python_twin(sge):
    code = f"""
from distributed import Client
from launchers import Sge
with Sge(n=4, queue="main.q", host={sge.head!r}, via="drmaa") as cluster:
    assert cluster.wait_for_workers(4, timeout_s=60) == 4
    c = Client(cluster)
    {MAP_BODY.strip().replace(chr(10), chr(10) + "    ")}
    cluster.scale(2)
"""
    done = sge.run(["python", "-W", "error", "-c", code], timeout_s=120)
    assert done.stdout.split() == [SUM_OF_SQUARES, "4"]
    sge.assert_clean()


def test_any_library_does_ten_thousand_tasks_and_leaves_nothing(sge, any_system):
    run = any_system(
        "-n", "8", "--name", "any", "--wait", "all", "--directive", "-w n -l mem_free=300M", "--mem", "300MB"
    )
    run.until_said("8 workers are there", timeout_s=90)
    assert len({row[0] for row in sge.qstat()}) == 1, "one array, one submission"
    done = sge.run(["python", "-c", f"from distributed import Client\nc = Client(cluster='any')\n{MAP_BODY}"])
    assert done.stdout.split() == [SUM_OF_SQUARES, "8"]
    assert run.interrupt() == 0
    assert sge.qstat() == []
    sge.assert_clean()
    assert "any" not in folders(sge)


def test_what_the_library_does_not_know_is_refused_in_a_sentence(sge, any_system):
    run = any_system("-n", "2", "--walltime", "1h")
    assert run.process.wait(timeout=60) == 5
    assert "this DRMAA library (SGE 8.1.9) has no hardWallclockTimeLimit" in run.stderr
    sge.assert_clean()


def test_the_package_takes_a_walltime_as_it_is_written(sge):
    """Grid Engine's library has no such attribute, others have; a number the package would not pass on."""
    code = "from drmaa.helpers import IntConverter; print(IntConverter.to_drmaa(b'1:30:00'))"
    around = {"DRMAA_LIBRARY_PATH": sge.drmaa_library, "GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=65536"}
    assert sge.run(["python", "-W", "ignore", "-c", code], env=around).stdout == "b'1:30:00'\n"


def test_stop_cancels_by_a_session_of_its_own_what_a_killed_launcher_left(sge, any_system):
    run = any_system("-n", "2", "--name", "left", "--directive=-h")
    run.until_said("2 pending")
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    until_sync(lambda: "dead" in sge.run(["dlaunch", "list"]).stdout, 30.0, what="the cluster to be listed as dead")
    around = {"DRMAA_LIBRARY_PATH": sge.drmaa_library, "SGE_ROOT": sge.root}
    assert "cleaned up" in sge.run(["dlaunch", "stop", "left"], env=around).stdout
    sge.assert_clean()


def test_a_call_whose_launcher_was_killed_ends_by_itself(sge, sge_workdir):
    """The alarm is set before the library is loaded: whatever hangs there, the process does not stay."""
    sge.run(["tee", sge_workdir / "drmaa.py"], input="import time\ntime.sleep(600)\n")
    where = "from importlib.util import find_spec as f; print(f('launchers.drmaa_call').origin)"
    program = sge.run(["python", "-c", where]).stdout.strip()
    around = {"PYTHONPATH": str(sge_workdir)}
    started = time.monotonic()
    ended = sge.run(["python", program, "check"], env=around, input='{"variables": {}, "timeout_s": -4}', check=False)
    assert ended.returncode == -signal.SIGALRM
    assert time.monotonic() - started < 10
