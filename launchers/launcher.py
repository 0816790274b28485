"""The one engine for every batch system: commands, watching of workers, and the machine of ``scaling.py`` between them.

It knows a system only through its plugin (``protocol.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol

from distributed.daemon import Daemon, operation
from distributed.errors import CommError, ConfigError, RequestTimeoutError
from distributed.messages import WorkerAppeared, WorkerDisappeared
from launchers import events
from launchers.actions import Action, Cancel, Find, GiveUp, Inquire, Poll, Stopped, Submit, Tell
from launchers.commands import run
from launchers.errors import (
    CancelError,
    CommandError,
    LauncherError,
    StartFailedError,
    StatusError,
    SubmitError,
)
from launchers.folder import ArrayRecord, ClusterFolder, State, log_tail
from launchers.jobs import ElementId, JobArray, JobSpec, JobState, JobStatus
from launchers.jobscript import blame_line
from launchers.protocol import Command, Finder, Historian, LateHistorian, Output, Plugin, command_error
from launchers.scaling import ScalingMachine
from launchers.slots import Progress
from launchers.watching import watch_workers

__all__ = ["Launcher", "Listener"]

logger = logging.getLogger(__name__)

_CONNECT_S = 10.0


class Listener(Protocol):
    """Who wants to know how the launching goes; called on the loop."""

    def progress(self, progress: Progress) -> None:
        """The numbers have changed."""

    def tell(self, text: str, warning: bool) -> None:
        """Something has happened."""


class Launcher(Daemon):
    """Keeps the jobs of one cluster going until it is closed; closing cancels them and waits until they are gone.

    ``problem`` is what went wrong for good, or None; ``over`` is set when no worker is left and none can come, the
    scheduler is gone, or it is closed; ``told_to_end`` when a peer asked for the end.  ``trouble_seen``: something went
    wrong, perhaps only for one job.  ``left``: elements that were still in the batch system when we stopped waiting.
    """

    kind: ClassVar[str] = "Launcher"

    def __init__(
        self,
        plugin: Plugin,
        spec: JobSpec,
        script: str,
        folder: ClusterFolder,
        state: State,
        scheduler_address: str,
        *,
        secret: bytes,
        listener: Listener,
        host: str | None = None,
    ) -> None:
        super().__init__(host=host, secret=secret)
        self.plugin = plugin
        self.spec = spec
        self.script = script
        self.folder = folder
        self.scheduler_address = scheduler_address
        self.problem: LauncherError | CommError | None = None
        self.over = asyncio.Event()
        self.left: tuple[ElementId, ...] = ()
        self.trouble_seen = False
        self.told_to_end = asyncio.Event()
        self._state = state
        self._listener = listener
        self._machine = ScalingMachine(
            spec.name, workers_per_job=spec.workers_per_job, can_find=isinstance(plugin, Finder)
        )
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Condition()
        self._all_gone = asyncio.Event()
        self._last_progress = Progress()
        self._inquired_s: dict[ElementId, float] = {}

    # -- life --------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._state.address = self.address
        self.folder.write_state(self._state)
        self.folder.write_script(self.script)
        self.own(self._watch(), name="watch the workers")
        self._handle(events.TargetChanged(self.spec.last, time.monotonic()))

    async def _close(self, reason: str) -> None:
        logger.info("%s: cancelling all jobs: %s", self.spec.name, reason)
        self.over.set()
        self._wake_waiters()
        if self.exit_code:  # a bug of ours: the machine cannot be trusted to come to an end
            await self._cancel_everything()
        else:
            self._handle(events.StopWanted(False, time.monotonic()))
            await self._all_gone.wait()
        self._disarm()

    async def _cancel_everything(self) -> None:
        if self.arrays:
            with contextlib.suppress(CommandError):
                await run(self.plugin.cancel_command(self.arrays))

    def hurry(self) -> None:
        """While closing: have the jobs cancelled, but do not wait until the batch system has carried it out."""
        self._handle(events.StopWanted(True, time.monotonic()))

    @property
    def progress(self) -> Progress:
        """How far the cluster is."""
        return self._machine.progress

    @property
    def arrays(self) -> list[str]:
        """The ids of all arrays that were submitted."""
        return [record.id for record in self._state.arrays]

    async def wait_for_workers(self, n: int, timeout_s: float | None = None) -> int:
        """Return the number of registered workers once it is at least ``n``.

        Raises ``problem`` as soon as so many cannot come any more, RequestTimeoutError after ``timeout_s`` seconds.
        """

        def is_settled() -> bool:
            hopeless = self._machine.attainable < n and not (self._machine.gave_up and not self.problem)
            return self.progress.registered >= n or self.over.is_set() or hopeless

        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(is_settled), timeout_s)
            except asyncio.TimeoutError as error:
                raise RequestTimeoutError(self._missing(n, f"after {timeout_s:g} s")) from error
        if self.progress.registered < n:
            raise self.problem or StartFailedError(self._missing(n, "and no more can come"))
        return self.progress.registered

    def _missing(self, n: int, when: str) -> str:
        now = self.progress
        waiting = f"; {now.pending} jobs wait in the queue" if now.pending else ""
        why = f" ({now.reason})" if now.reason else ""
        return f"{now.registered} of {n} workers are there {when}{waiting}{why}"

    # -- operations --------------------------------------------------------------------------------------------------

    @operation
    async def progress_report(self) -> dict[str, Any]:
        """Return how far the cluster is: the fields of ``Progress``, and the ids of its ``arrays``."""
        return {**dataclasses.asdict(self.progress), "arrays": self.arrays, "system": self.plugin.name}

    @operation
    async def terminate(self) -> str:
        """End the cluster; the process behind ``dlaunch`` ends with exit code 0."""
        self.told_to_end.set()
        return "OK"

    @operation
    async def scale(self, jobs: int) -> None:
        """Want so many jobs from now on.  Raises ValueError below 0."""
        if jobs < 0:
            raise ValueError(f"{jobs} is not a number of jobs")
        self._handle(events.TargetChanged(jobs, time.monotonic()))

    # -- the machine -------------------------------------------------------------------------------------------------

    def _handle(self, event: events.Event) -> None:
        for action in self._machine.handle(event):
            self._perform(action)
        self._arm()
        progress = self._machine.progress
        if progress != self._last_progress:
            self._last_progress = progress
            self._listener.progress(progress)
            self._wake_waiters()
        self._notice_end()

    def _notice_end(self) -> None:
        machine = self._machine
        if machine.attainable or machine.stopping or not machine.target:
            return
        if self.problem is None and not machine.gave_up:
            self.problem = CancelError("all jobs were cancelled by somebody else, none is left")
            self._listener.tell(str(self.problem), True)
        if self.problem is not None:
            self.over.set()

    def _wake_waiters(self) -> None:
        async def wake() -> None:
            async with self._changed:
                self._changed.notify_all()

        if self.status != "closed":
            self.own(wake(), name="wake waiters")

    def _arm(self) -> None:
        self._disarm()
        wake_s = self._machine.wake_s()
        if wake_s is not None:
            delay_s = max(0.0, wake_s - time.monotonic())
            loop = asyncio.get_running_loop()
            # As a task, so that a bug in the machine ends the daemon rather than only this callback.
            self._timer = loop.call_later(delay_s, lambda: self.own(self._tick(), name="tick"))

    async def _tick(self) -> None:
        self._handle(events.Tick(time.monotonic()))

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _perform(self, action: Action) -> None:
        if isinstance(action, Tell):
            self._tell(action)
        elif isinstance(action, Stopped):
            self.left = action.left
            self._all_gone.set()
        else:
            doing = _CARRIERS[type(action)](self, action)
            self.own(doing, name=type(action).__name__.lower())

    def _tell(self, action: Tell) -> None:
        text = action.text
        if action.warning:
            self.trouble_seen = True
            logger.warning("%s: %s", self.spec.name, text)
        else:
            logger.info("%s: %s", self.spec.name, text)
        if action.index is not None:
            text += f"; its log: {self.spec.log_path(action.index)}"
        self._listener.tell(text, action.warning)

    # -- commands ----------------------------------------------------------------------------------------------------

    async def _submit(self, action: Submit) -> None:
        spec = dataclasses.replace(self.spec, first=action.first, last=action.last)
        try:
            self._remember(submitting=f"{action.first}-{action.last}")
            output = await run(self.plugin.submit_command(self.script, spec))
            array = self._parse_submit(output, spec)
        except (CommandError, ConfigError) as error:
            logger.warning("submitting %s-%s failed: %s", action.first, action.last, error)
            self._handle(_submit_failed(action, error))
            return
        logger.info("submitted elements %s-%s as %s", action.first, action.last, array.id)
        self._note_submitted(array)
        self._listener.tell(f"submitted {_jobs(array)}: {_short(array)}", False)
        self._handle(events.Submitted(action.first, action.last, array, time.monotonic()))

    def _parse_submit(self, output: Output, spec: JobSpec) -> JobArray:
        if output.exit_code == 0:
            return self.plugin.parse_submit(output, spec)
        failure = self.plugin.explain_failure(output)
        blamed = blame_line(self.plugin, failure, self.script)
        text = "\n".join(filter(None, [failure.text, blamed]))
        text = f"{self.plugin.name} refused the jobs: {text}" if not failure.transient else text
        failure = dataclasses.replace(failure, text=text)
        raise command_error(SubmitError, output, failure, script=str(self.folder.script_file))

    def _remember(self, submitting: str = "") -> None:
        """Write down what was, or is being, submitted, so that it can be found if we die now.  Raises ConfigError."""
        self._state.submitting = submitting
        self.folder.write_state(self._state)

    def _note_submitted(self, array: JobArray) -> None:
        self.own(self._claim(array), name="claim jobs")
        if array.id not in self.arrays:
            self._state.arrays.append(ArrayRecord(array.id, array.elements))
        try:
            self._remember()
        except ConfigError as error:  # The jobs are there all the same.
            self._tell(Tell(f"the jobs {array.id} are not written down: {error}", warning=True))

    async def _claim(self, array: JobArray) -> None:
        """Tell the scheduler which workers are of our jobs."""
        with contextlib.suppress(CommError):  # if it is gone, that is told elsewhere
            jobs = list(array.elements.values())
            await self.pool.request(self.scheduler_address, "note_launched", jobs=jobs, timeout_s=_CONNECT_S)

    async def _look_for_jobs(self, _action: Find) -> None:
        assert isinstance(self.plugin, Finder)
        try:
            output = await run(self.plugin.find_command(self.spec.job_name))
            arrays = self.plugin.parse_find(output)
        except CommandError as error:
            self._handle(events.FindFailed(str(error), time.monotonic()))
            return
        for array in arrays:
            self._note_submitted(array)
        self._handle(events.Found(arrays, time.monotonic()))

    async def _poll(self, action: Poll) -> None:
        try:
            output = await run(self.plugin.status_command(action.ids))
            statuses = self.plugin.parse_status(output)
        except CommandError as error:
            logger.debug("asking for the state of the jobs failed: %s", error)
            self._handle(events.PollFailed(str(error), time.monotonic()))
            return
        self._handle(events.Polled(statuses, time.monotonic()))

    async def _inquire(self, action: Inquire) -> None:
        found = {index: await self._ending(index, element) for index, element in action.elements}
        statuses = {index: status for index, status in found.items() if status is not None}
        self._handle(events.Inquired(statuses, time.monotonic()))

    async def _ending(self, index: int, element: ElementId) -> JobStatus | None:
        """How an element that is not listed any more has ended, as well as anybody knows; None: ask again later."""
        status = await self._history(element)
        if status is not None and (status.state.has_ended or status.state is JobState.STUCK):
            return status
        if Path(self.spec.log_path(index)).exists():
            if isinstance(self.plugin, LateHistorian):
                since_s = self._inquired_s.setdefault(element, time.monotonic())
                if time.monotonic() < since_s + self.plugin.history_delay_s:
                    return None
            return JobStatus(JobState.GONE, explanation="it left the queue and nobody says how it ended")
        return JobStatus(JobState.CANCELLED, explanation="it left the queue before it ran")

    async def _history(self, element: ElementId) -> JobStatus | None:
        if isinstance(self.plugin, Historian):
            for command in self.plugin.history_commands(element):
                with contextlib.suppress(CommandError):
                    if status := self.plugin.parse_history(await run(command)):
                        return status
        return None

    async def _cancel(self, action: Cancel) -> None:
        try:
            await self._checked(self.plugin.cancel_command(action.ids), CancelError)
        except CommandError as error:
            logger.warning("cancelling %s failed: %s", " ".join(action.ids), error)
            self._handle(events.CancelFailed(str(error), time.monotonic()))
            return
        self._handle(events.Cancelled(time.monotonic()))

    async def _checked(self, command: Command, kind: type[CancelError | StatusError]) -> Output:
        output = await run(command)
        if output.exit_code != 0:
            failure = self.plugin.explain_failure(output)
            if not failure.harmless:
                raise command_error(kind, output, failure)
        return output

    # -- bad ends ----------------------------------------------------------------------------------------------------

    async def _give_up(self, action: GiveUp) -> None:
        if action.refused:
            script = str(self.folder.script_file)
            self.problem = SubmitError(action.text, script=script)
        else:
            self.problem = await self._start_failure(action)
        self.trouble_seen = True
        self._listener.tell(str(self.problem), True)
        self._handle(events.Tick(time.monotonic()))
        self._wake_waiters()

    async def _start_failure(self, action: GiveUp) -> StartFailedError:
        """The jobs' reasons, and the log of the last one."""
        index, element, known = action.failures[-1]
        # One that was stuck is cleared away by now, and only we know why it was.
        status = known if known.state is JobState.STUCK else await self._history(element) or known
        failures = [*action.failures[-3:-1], (index, element, status)]
        reasons = [f"{element}: {status.describe()}" for _, element, status in failures]
        log = Path(self.spec.log_path(index))
        tail = log_tail(log)
        shown = [f"  {line}" for line in tail.splitlines()] or ["  (it is empty or missing)"]
        lines = [f"{action.text}:", *(f"  {reason}" for reason in reasons)]
        lines += [f"the end of the log {log}:", *shown]
        lines += [f"the jobscript: {self.folder.script_file}"]
        return StartFailedError("\n".join(lines), reasons, str(log), tail)

    # -- workers -----------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        try:
            await watch_workers(self.scheduler_address, self._secret, self._on_worker)
        except CommError as error:
            if self.status in ("closing", "closed"):
                return
            logger.warning("lost the scheduler at %s: %s", self.scheduler_address, error)
            self.problem = error
            self._listener.tell(f"the scheduler at {self.scheduler_address} is gone: {error}", True)
            self.over.set()
            self._wake_waiters()

    def _on_worker(self, message: WorkerAppeared | WorkerDisappeared) -> None:
        if isinstance(message, WorkerAppeared):
            self._handle(events.WorkerCame(message.name, time.monotonic(), message.job_id))
        else:
            logger.info("worker %s left: %s", message.name, message.reason)
            self._handle(events.WorkerLeft(message.name, time.monotonic()))


def _submit_failed(action: Submit, error: CommandError | ConfigError) -> events.SubmitFailed:
    # What could not be written down first was not submitted; the disk may have room again.
    transient = error.transient if isinstance(error, CommandError) else True
    uncertain = isinstance(error, CommandError) and error.uncertain
    return events.SubmitFailed(action.first, action.last, str(error), transient, uncertain, time.monotonic())


def _jobs(array: JobArray) -> str:
    return f"{len(array.elements)} job{'s' if len(array.elements) > 1 else ''}"


def _short(array: JobArray) -> str:
    return array.id if len(array.id) < 40 else f"{array.id[:30]}..."


_CARRIERS: dict[type[Action], Callable[[Launcher, Any], Any]] = {
    Submit: Launcher._submit,
    Find: Launcher._look_for_jobs,
    Poll: Launcher._poll,
    Inquire: Launcher._inquire,
    Cancel: Launcher._cancel,
    GiveUp: Launcher._give_up,
}
