"""The engine on a played SLURM and a real scheduler; the workers are mere connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path, PurePosixPath

import pytest

from distributed.comm import connect
from distributed.errors import CommError, RequestTimeoutError
from distributed.messages import Goodbye, Request
from distributed.pool import ConnectionPool
from distributed.scheduler import Scheduler
from launchers.errors import CancelError, StartFailedError, SubmitError
from launchers.fakes.batch import Fault
from launchers.fakes.slurm import OUTAGE, install_slurm
from launchers.folder import ClusterFolder
from launchers.jobs import JobSpec
from launchers.jobscript import render_jobscript
from launchers.launcher import Launcher
from launchers.slurm import SlurmPlugin
from tests.aio import run_async, until

SECRET = b"s" * 32


class Engine:
    """A launcher of the cluster ``c``; as a context manager it is closed at the end."""

    def __init__(self, batch, n: int) -> None:
        self.batch = batch
        self.n = n
        self.said: list[str] = []
        self._connections = []

    def progress(self, progress) -> None:
        pass

    def tell(self, text: str, warning: bool) -> None:
        self.said.append(text)

    async def __aenter__(self) -> Engine:
        self.scheduler = Scheduler(host="127.0.0.1", secret=SECRET)
        await self.scheduler.start(0)
        self.folder = ClusterFolder("c")
        self.folder.claim()
        fields = {"name": "c", "job_name": "c-1", "command": ("true",), "last": self.n, "queue": "main"}
        spec = JobSpec(log_dir=PurePosixPath(self.folder.logs), **fields)
        state = self.folder.new_state("slurm", spec.job_name, Path(spec.log_dir))
        script = render_jobscript(SlurmPlugin(), spec, [])
        self.launcher = Launcher(
            SlurmPlugin(),
            spec,
            script,
            self.folder,
            state,
            self.scheduler.address,
            secret=SECRET,
            listener=self,
            host="127.0.0.1",
        )
        await self.launcher.start(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._connections:
            if not connection.closed:
                await self.leave(connection)
        await self.launcher.close("test")
        await self.scheduler.close()
        self.folder.remove(keep_logs=False)

    async def register(self, name: str):
        """Register a worker that is only a connection."""
        connection = await connect(self.scheduler.address, secret=SECRET, role="worker")
        self._connections.append(connection)
        where = f"127.0.0.1:{40000 + len(self._connections)}"
        connection.send(Request("register_worker", {"address": where, "name": name}, 1))
        (reply, *_) = await connection.read()
        assert reply.error is None, reply.error
        return connection

    async def leave(self, connection) -> None:
        """Let a worker say goodbye."""
        connection.send(Goodbye("test"))
        await connection.close()

    async def until_asked(self, program: str, times: int = 1) -> list:
        await until(lambda: len(self.batch.calls(program)) >= times, what=f"{times} calls of {program}")
        return self.batch.calls(program)


@pytest.fixture
def batch(tmp_path, monkeypatch):
    played = install_slurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{played.programs}{os.pathsep}{os.environ['PATH']}")
    yield played
    played.close()


def test_from_one_submission_to_nothing_left(batch):
    async def life():
        async with Engine(batch, 2) as engine:
            launcher = engine.launcher
            await until(lambda: launcher.progress.running == 2)
            for name in ("c.1", "c.2"):
                await engine.register(name)
            assert await launcher.wait_for_workers(2, timeout_s=5) == 2
            assert engine.folder.read_state().arrays[0].elements == {1: "1_1", 2: "1_2"}
            assert engine.folder.read_state().address == launcher.address
            assert launcher.arrays == ["1"]
            assert not launcher.trouble_seen
        assert not launcher.left
        assert [call.argv[1:] for call in batch.calls("sbatch")] == [("--parsable", "--array=1-2")]
        assert [call.argv[1:] for call in batch.calls("scancel")] == [("1",)]
        assert {job.state for job in batch.jobs().values()} == {"CANCELLED"}
        assert not engine.folder.path.exists()

    run_async(life())


@pytest.mark.expect_log("submitting 1-2 failed: .*Socket timed out", "does not take jobs now")
def test_a_job_that_was_taken_although_sbatch_failed_is_found(batch):
    batch.order(Fault("sbatch", 1, stderr=b"sbatch: error: Socket timed out on send/recv operation\n", works=True))

    async def life():
        async with Engine(batch, 2) as engine:
            await until(lambda: engine.launcher.progress.jobs == 2)
            assert len(batch.calls("sbatch")) == 1
            assert any("c-1" in call.argv for call in batch.calls("squeue"))

    run_async(life())
    assert {job.state for job in batch.jobs().values()} == {"CANCELLED"}


@pytest.mark.expect_log("submitting 1-2 failed: .*Unable to contact", "does not take jobs now")
def test_a_passing_trouble_is_waited_out(batch):
    batch.order(Fault("sbatch", 1, stderr=OUTAGE[0].stderr))

    async def life():
        async with Engine(batch, 2) as engine:
            await until(lambda: engine.launcher.progress.running == 2)
            assert len(batch.calls("sbatch")) == 2
            assert engine.launcher.problem is None

    run_async(life())


@pytest.mark.expect_log("submitting 1-2 failed: slurm refused the jobs")
def test_a_refusal_is_not_repeated_and_names_the_line(batch):
    text = b"sbatch: error: Batch job submission failed: Invalid partition name specified\n"
    batch.order(Fault("sbatch", 1, stderr=text, times=-1))

    async def life():
        async with Engine(batch, 2) as engine:
            with pytest.raises(SubmitError) as caught:
                await engine.launcher.wait_for_workers(1, timeout_s=10)
            assert "Invalid partition name specified" in str(caught.value)
            assert "jobscript: #SBATCH --partition=main" in str(caught.value)
            await asyncio.wait_for(engine.launcher.over.wait(), 5)
        assert len(batch.calls("sbatch")) == 1
        assert batch.calls("scancel") == []

    run_async(life())


def test_start_failures_are_explained_with_history_and_log(batch):
    batch.set_options(start_after_s=1000)

    async def life():
        async with Engine(batch, 3) as engine:
            await until(lambda: engine.launcher.progress.jobs == 3)
            for i in (1, 2, 3):
                (engine.folder.logs / f"c.{i}.log").write_text(f"module {i} not found\n")
                batch.set_state(f"1_{i}", "FAILED", exit_code=7, node="n7", reason="NonZeroExitCode")
            with pytest.raises(StartFailedError) as caught:
                await engine.launcher.wait_for_workers(1, timeout_s=20)
            error = caught.value
            assert error.log.endswith("/c.3.log")
            assert error.tail == "module 3 not found"
            assert "1_3: failed with exit code 7 on n7" in str(error)
            assert "  module 3 not found" in str(error)
            await asyncio.wait_for(engine.launcher.over.wait(), 5)

    run_async(life())


@pytest.mark.expect_log("does not tell the state of the jobs")
def test_a_silent_batch_system_changes_nothing(batch):
    async def life():
        async with Engine(batch, 2) as engine:
            await until(lambda: engine.launcher.progress.running == 2)
            batch.order(*OUTAGE)
            before = len(batch.calls("squeue"))
            await engine.until_asked("squeue", before + 2)
            await until(lambda: any("does not tell the state" in text for text in engine.said))
            assert engine.launcher.progress.running == 2
            batch.behave()

    run_async(life(), timeout_s=40)


@pytest.mark.expect_log("the job 1_1 has ended: timeout")
def test_a_job_that_ends_is_submitted_again_under_its_index(batch):
    async def life():
        async with Engine(batch, 2) as engine:
            await until(lambda: engine.launcher.progress.running == 2)
            worker = await engine.register("c.1")
            await until(lambda: engine.launcher.progress.registered == 1)
            batch.set_state("1_1", "TIMEOUT", reason="TimeLimit")
            await engine.leave(worker)
            calls = await engine.until_asked("sbatch", 2)
            assert calls[1].argv[1:] == ("--parsable", "--array=1-1")
            assert calls[1].stdin == calls[0].stdin
            assert engine.launcher.trouble_seen

    run_async(life())


def test_forgotten_waiting_jobs_count_as_cancelled(batch):
    batch.set_options(start_after_s=1000)

    async def life():
        async with Engine(batch, 1) as engine:
            await until(lambda: engine.launcher.progress.jobs == 1)
            batch.forget("1_1")
            await asyncio.wait_for(engine.launcher.over.wait(), 15)
            assert isinstance(engine.launcher.problem, CancelError)
            assert any("somebody cancelled the job 1_1" in text for text in engine.said)

    run_async(life())


def test_scaling_by_operation(batch):
    async def life():
        async with Engine(batch, 1) as engine, contextlib.AsyncExitStack() as stack:
            pool = ConnectionPool(SECRET)
            stack.push_async_callback(pool.close)
            await pool.request(engine.launcher.address, "scale", jobs=3)
            await until(lambda: engine.launcher.progress.running == 3)
            report = await pool.request(engine.launcher.address, "progress_report")
            assert (report["wanted"], report["system"]) == (3, "slurm")
            await pool.request(engine.launcher.address, "scale", jobs=1)
            await until(lambda: engine.launcher.progress.jobs == 1)
            with pytest.raises(ValueError, match="-1 is not a number of jobs"):
                await pool.request(engine.launcher.address, "scale", jobs=-1)
            await pool.request(engine.launcher.address, "terminate")
            assert engine.launcher.told_to_end.is_set()

    run_async(life())


def test_waiting_ends_with_the_queues_reason(batch):
    batch.set_options(slots=0)

    async def life():
        async with Engine(batch, 2) as engine:
            await until(lambda: "Resources" in engine.launcher.progress.reason)
            with pytest.raises(
                RequestTimeoutError, match=r"0 of 1 workers are there after 0\.1 s; 2 jobs wait"
            ) as caught:
                await engine.launcher.wait_for_workers(1, timeout_s=0.1)
            assert "waits for free nodes" in str(caught.value)

    run_async(life())


@pytest.mark.expect_log("lost the scheduler at")
def test_the_scheduler_is_lost(batch):
    async def life():
        async with Engine(batch, 1) as engine:
            await until(lambda: engine.launcher.progress.running == 1)
            await engine.scheduler.close()
            await asyncio.wait_for(engine.launcher.over.wait(), 5)
            assert isinstance(engine.launcher.problem, CommError)
        assert {job.state for job in batch.jobs().values()} == {"CANCELLED"}

    run_async(life())


def test_in_a_hurry_it_only_waits_for_scancel(batch):
    async def life():
        engine = Engine(batch, 1)
        await engine.__aenter__()
        await until(lambda: engine.launcher.progress.running == 1)
        batch.order(Fault("squeue", None, delay_s=30, times=-1))
        batch.order(Fault("scancel", 0, times=-1))
        closing = asyncio.ensure_future(engine.launcher.close("test"))
        await engine.until_asked("scancel")
        engine.launcher.hurry()
        batch.behave()
        await asyncio.wait_for(closing, 35)
        assert engine.launcher.left in ((), ("1_1",))
        await engine.__aexit__()

    run_async(life(), timeout_s=50)
