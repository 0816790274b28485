"""What a batch system can do to the engine, and the engine's patience: played commands, a real scheduler."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import time
from pathlib import Path

import pytest

from distributed.errors import ConfigError
from launchers import commands
from launchers.errors import StartFailedError, SubmitError
from launchers.fakes.batch import Fault
from launchers.fakes.slurm import install_slurm
from launchers.folder import ClusterFolder
from tests.aio import run_async, until
from tests.daemons.test_launcher import Engine


@pytest.fixture
def batch(tmp_path, monkeypatch):
    played = install_slurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{played.programs}{os.pathsep}{os.environ['PATH']}")
    yield played
    played.close()


@pytest.fixture
def short_patience(monkeypatch):
    """Commands have one second, not sixty."""
    real = commands.run

    async def run(command):
        return await real(dataclasses.replace(command, timeout_s=min(1.0, command.timeout_s)))

    monkeypatch.setattr("launchers.launcher.run", run)


@pytest.mark.expect_log("submitting 1-5 failed: slurm refused the jobs")
def test_an_array_over_the_limit_is_refused_once_and_says_what_to_do(batch):
    batch.set_options(max_array=5)

    async def life():
        async with Engine(batch, 5) as engine:
            with pytest.raises(SubmitError) as caught:
                await engine.launcher.wait_for_workers(1, timeout_s=10)
            assert "put several workers into each job by --workers-per-job" in str(caught.value)
            assert "jobscript: #SBATCH --array=1-5" in str(caught.value)
        assert len(batch.calls("sbatch")) == 1

    run_async(life())


def test_an_answer_that_takes_a_second_is_an_answer(batch):
    batch.order(Fault("squeue", None, delay_s=1.0, times=2), Fault("sbatch", None, delay_s=1.0))

    async def life():
        async with Engine(batch, 2) as engine:
            await until(lambda: engine.launcher.progress.running == 2)
            assert engine.said == ["submitted 2 jobs: 1"]

    run_async(life())


@pytest.mark.expect_log("does not tell the state of the jobs: .* did not answer within 1 s")
def test_a_question_without_an_end_is_given_up_and_no_job_is_lost(batch, short_patience):
    async def life():
        async with Engine(batch, 2) as engine:
            await until(lambda: engine.launcher.progress.running == 2)
            batch.order(Fault("squeue", None, hangs=True, times=-1))
            await until(lambda: any("does not tell the state" in text for text in engine.said), timeout_s=20)
            assert engine.launcher.progress.running == 2
            batch.behave()
            await until(lambda: "the batch system answers again" in engine.said, timeout_s=20)
            assert engine.launcher.progress.running == 2

    run_async(life(), timeout_s=50)


@pytest.mark.expect_log("submitting 1-2 failed: sbatch .* did not answer within 1 s", "does not take jobs now")
def test_a_submission_without_an_end_is_looked_for_before_the_next(batch, short_patience):
    batch.order(Fault("sbatch", 0, works=True, delay_s=0.0, hangs=True))

    async def life():
        async with Engine(batch, 2) as engine:
            await until(lambda: engine.launcher.progress.running == 2, timeout_s=15)
            names = [call.argv for call in batch.calls() if call.argv[0] in ("sbatch", "squeue")]
            first, second = (index for index, argv in enumerate(names) if argv[0] == "sbatch")
            assert any("c-1" in argv for argv in names[first:second])

    run_async(life(), timeout_s=40)


@pytest.mark.expect_log("does not tell the state of the jobs: squeue printed")
def test_an_answer_that_cannot_be_understood_has_lost_no_job(batch):
    async def life():
        async with Engine(batch, 2) as engine:
            await until(lambda: engine.launcher.progress.running == 2)
            batch.order(Fault("squeue", 0, stdout="\udcff Aufträge ...\n".encode("utf-8", "surrogateescape"), times=-1))
            await until(lambda: any("does not tell the state" in said for said in engine.said), timeout_s=20)
            assert engine.launcher.progress.running == 2
            batch.behave()

    run_async(life(), timeout_s=40)


def test_jobs_that_may_wait_for_ever_are_shown_and_not_submitted_again(batch):
    batch.set_options(slots=0)
    reason, explained = "AssocGrpCPUMinutesLimit", "a limit of the account or user is reached"

    async def life():
        async with Engine(batch, 2) as engine:
            await until(lambda: engine.launcher.progress.jobs == 2)
            for index in (1, 2):
                batch.set_state(f"1_{index}", "PENDING", reason=reason)
            await until(lambda: explained in engine.launcher.progress.reason)
            assert reason in engine.launcher.progress.reason
            await engine.until_asked("squeue", len(batch.calls("squeue")) + 2)
            assert engine.launcher.progress.pending == 2
            assert len(batch.calls("sbatch")) == 1

    run_async(life(), timeout_s=40)


def test_an_array_of_which_each_part_does_something_else(batch):
    async def life():
        async with Engine(batch, 5) as engine:
            await until(lambda: engine.launcher.progress.running == 5)
            batch.set_state("1_1", "PENDING", reason="JobArrayTaskLimit")
            batch.set_state("1_2", "COMPLETING")
            batch.set_state("1_3", "FAILED", exit_code=1)
            batch.set_state("1_4", "CANCELLED")
            await until(lambda: any("somebody cancelled the job 1_4" in text for text in engine.said))
            calls = await engine.until_asked("sbatch", 2)
            # Only the one that failed, alone.
            assert {call.argv[-1] for call in calls[1:]} <= {"--array=3-3", "--array=2-2", "--array=2-3"}
            assert engine.launcher.progress.pending >= 1
            assert engine.launcher.progress.wanted == 5

    run_async(life(), timeout_s=30)


@pytest.mark.parametrize(
    ("state", "values", "told"),
    [
        ("TIMEOUT", {"reason": "TimeLimit"}, "timeout (its walltime was over)"),
        ("OUT_OF_MEMORY", {"reason": "OutOfMemory"}, "(it used more memory than it asked for)"),
    ],
)
def test_a_job_too_small_to_start_a_worker_is_a_start_failure_that_says_so(batch, state, values, told):
    batch.set_options(start_after_s=1000)

    async def life():
        async with Engine(batch, 3) as engine:
            await until(lambda: engine.launcher.progress.jobs == 3)
            for index in (1, 2, 3):
                batch.set_state(f"1_{index}", state, **values)
            with pytest.raises(StartFailedError) as caught:
                await engine.launcher.wait_for_workers(1, timeout_s=20)
            assert told in str(caught.value)
            # Their logs cannot be written (a full disk, a folder that the nodes do not have): that shows as well.
            assert "(it is empty or missing)" in str(caught.value)
            assert len(batch.calls("sbatch")) == 1

    run_async(life(), timeout_s=40)


@pytest.mark.expect_log("the job 1_1 has ended")
def test_what_the_nodes_did_is_no_fault_of_the_job(batch):
    async def life():
        async with Engine(batch, 1) as engine:
            await until(lambda: engine.launcher.progress.running == 1)
            batch.set_state("1_1", "BOOT_FAIL", node="n7")
            calls = await engine.until_asked("sbatch", 2)
            assert calls[1].argv[-1] == "--array=1-1"
            assert engine.launcher.problem is None

    run_async(life(), timeout_s=30)


@pytest.mark.expect_log("submitting 1-2 failed: cannot write .*No space left on device", "does not take jobs now")
def test_what_cannot_be_written_down_is_not_submitted(batch, monkeypatch):
    full = [True]
    real = ClusterFolder.write_state

    def write(self, state):
        if full[0] and state.submitting:
            raise ConfigError(f"cannot write {self.state_file}: No space left on device")
        real(self, state)

    monkeypatch.setattr(ClusterFolder, "write_state", write)

    async def life():
        async with Engine(batch, 2) as engine:
            await until(lambda: any("No space left on device" in text for text in engine.said))
            assert batch.calls("sbatch") == []
            full[0] = False
            await until(lambda: engine.launcher.progress.running == 2)
            assert len(batch.calls("sbatch")) == 1

    run_async(life(), timeout_s=30)


@pytest.mark.expect_log("QOSMaxSubmitJobPerUserLimit", "does not take jobs now")
def test_scaling_beyond_a_limit_waits_and_keeps_what_is_there(batch):
    async def life():
        async with Engine(batch, 2) as engine:
            await until(lambda: engine.launcher.progress.running == 2)
            batch.order(Fault("sbatch", 1, stderr=b"sbatch: error: QOSMaxSubmitJobPerUserLimit\n", times=2))
            started_s = time.monotonic()
            await engine.launcher.scale(4)
            await until(lambda: "submission failed 1 times" in engine.launcher.progress.problem)
            assert engine.launcher.progress.running == 2
            await until(lambda: engine.launcher.progress.running == 4, timeout_s=20)
            assert time.monotonic() - started_s > 4  # pauses that grow: 2 s, 4 s
            assert len(batch.calls("sbatch")) == 4

    run_async(life(), timeout_s=40)


def test_up_and_down_before_the_batch_system_has_followed(batch):
    async def life():
        async with Engine(batch, 1) as engine:
            for jobs in (8, 2, 5, 0, 3):
                await engine.launcher.scale(jobs)
            await until(lambda: engine.launcher.progress.running == 3, timeout_s=20)
            await until(lambda: _running(batch) == 3, timeout_s=20)
            await engine.launcher.scale(0)
            await until(lambda: _running(batch) == 0, timeout_s=20)
            assert not engine.launcher.over.is_set()
            await engine.launcher.scale(1)
            await until(lambda: engine.launcher.progress.running == 1, timeout_s=20)

    run_async(life(), timeout_s=70)


def _running(batch) -> int:
    return sum(job.state in ("PENDING", "RUNNING") for job in batch.jobs().values())


def test_the_end_of_a_cluster_whose_folder_was_taken_away(batch):
    async def life():
        engine = Engine(batch, 1)
        await engine.__aenter__()
        await until(lambda: engine.launcher.progress.running == 1)
        shutil.rmtree(engine.folder.path)
        await asyncio.wait_for(engine.__aexit__(None, None, None), 20)
        assert _running(batch) == 0
        assert not Path(engine.folder.path).exists()

    run_async(life(), timeout_s=40)
