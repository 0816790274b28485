"""The launcher's machine: wanted workers, known jobs and registered workers in, submissions and worries out.

Pure: times come in with the events.  Each index of the array is a *slot* which holds at most one job at a time; a slot
whose job has ended after its workers had registered is submitted again, after a pause that grows while its jobs live
short.  One command of the batch system is out at a time: after an action of kind Submit, Find, Poll, Inquire or Cancel
no other one follows until its answer has come in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from launchers import events
from launchers.actions import Action, Cancel, Find, GiveUp, Inquire, Poll, Stopped, Submit, Tell
from launchers.jobs import ElementId, JobState, JobStatus
from launchers.slots import Phase, Progress, Slot, contiguous, summarise

__all__ = ["ScalingMachine"]

FAILURES_IN_A_ROW = 3
"""So many jobs that end before a worker of theirs registers, and no more are submitted."""

PATIENCE_S = 300.0
"""How long a batch system may refuse for reasons that pass."""

WORRY_S = 120.0
STOP_PATIENCE_S = 120.0
CANCEL_AGAIN_S = 15.0
_INFRASTRUCTURE = (JobState.NODE_FAIL, JobState.PREEMPTED)


class ScalingMachine:
    """Decides for one cluster; ``handle(event)`` returns the actions, ``wake_s()`` says when it wants a Tick.

    ``name``: of the cluster, whose workers are ``<name>.<index>`` (or ``<name>.<index>-<k>``);
    ``can_find``: the batch system can be asked for jobs by name.
    """

    def __init__(self, name: str, *, workers_per_job: int = 1, can_find: bool = False) -> None:
        self.name = name
        self.workers_per_job = workers_per_job
        self.slots: dict[int, Slot] = {}
        self.target = 0
        self.gave_up = ""
        self.stopping = False
        self.stopped = False
        self._can_find = can_find
        self._busy = False
        self._at_once = False
        self._actions: list[Action] = []
        self._known_arrays: set[str] = set()
        self._adopted: set[str] = set()
        self._orphans: list[ElementId] = []
        self._find_due = False
        self._trouble = ""
        self._trouble_since_s: float | None = None
        self._attempts = 0
        self._next_submit_s = 0.0
        self._next_poll_s = 0.0
        self._poll_pause_s = 1.0
        self._failed_polls = 0
        self._failures: list[tuple[int, ElementId, JobStatus]] = []
        self._next_cancel_s = 0.0
        self._stop_deadline_s = 0.0
        self._told_to_stop = False

    # -- the door --------------------------------------------------------------------------------------------------

    def handle(self, event: events.Event) -> list[Action]:
        """Take in an event; return what to do now."""
        _HANDLERS[type(event)](self, event)
        if not self.stopped and (action := self._next_command(event.now_s)):
            self._actions.append(action)
        actions, self._actions = self._actions, []
        return actions

    def wake_s(self) -> float | None:
        """Return when a Tick is due although nothing else happens; None: never."""
        if self._busy or self.stopped:
            return None
        times = [slot.not_before_s for slot in self._wanted()] if not self.gave_up else []
        times = [max(time, self._next_submit_s) for time in times]
        if self._find_due:
            times.append(self._next_submit_s)
        if any(slot.has_job for slot in self.slots.values()):
            times.append(self._next_poll_s)
        if self.stopping:
            times += [self._next_cancel_s, self._stop_deadline_s]
        elif self._orphans or any(slot.leaving and not slot.told for slot in self.slots.values()):
            times.append(self._next_cancel_s)
        return min(times, default=None)

    @property
    def progress(self) -> Progress:
        """How far the cluster is."""
        wanted = self.target * self.workers_per_job
        return summarise(self.slots.values(), wanted, self._trouble, len(self._adopted))

    @property
    def attainable(self) -> int:
        """How many workers there are or may still come."""
        if not self.gave_up:
            lost = sum(slot.phase is Phase.WITHDRAWN for slot in self.slots.values())
            return (self.target - lost) * self.workers_per_job
        return sum(self.workers_per_job for slot in self.slots.values() if slot.has_job)

    # -- what to do next -------------------------------------------------------------------------------------------

    def _next_command(self, now_s: float) -> Action | None:
        if self._busy:
            return None
        action = self._stop_command(now_s) if self.stopping else self._work_command(now_s)
        self._busy = action is not None and not isinstance(action, Stopped)
        return action

    def _work_command(self, now_s: float) -> Action | None:
        if self._find_due:
            return Find() if now_s >= self._next_submit_s else None
        if now_s >= self._next_cancel_s and (surplus := self._surplus()):
            return Cancel(surplus)
        if not self.gave_up and now_s >= self._next_submit_s:
            ready = [slot.index for slot in self._wanted() if slot.not_before_s <= now_s]
            if ready:
                first, last = contiguous(ready)
                for index in range(first, last + 1):
                    self.slots[index].phase = Phase.SUBMITTING
                return Submit(first, last)
        return self._look(now_s)

    def _look(self, now_s: float) -> Action | None:
        vanished = [slot for slot in self.slots.values() if slot.phase is Phase.VANISHED]
        if vanished:
            return Inquire(tuple((slot.index, slot.element) for slot in vanished))
        alive = [slot for slot in self.slots.values() if slot.has_job]
        if alive and now_s >= self._next_poll_s:
            return Poll(tuple(slot.element for slot in alive))
        return None

    def _stop_command(self, now_s: float) -> Action | None:
        if self._find_due and not self._at_once and now_s < self._stop_deadline_s:
            return Find() if now_s >= self._next_submit_s else None
        alive = [slot for slot in self.slots.values() if slot.has_job]
        overdue = now_s >= self._stop_deadline_s or (self._at_once and self._told_to_stop)
        if overdue or not (alive or self._orphans):
            self.stopped = True
            return Stopped(tuple(slot.element for slot in alive))
        if now_s >= self._next_cancel_s:
            self._next_cancel_s = now_s + CANCEL_AGAIN_S
            self._told_to_stop = True
            return Cancel((*dict.fromkeys(slot.array for slot in alive), *self._orphans))
        if alive and now_s >= self._next_poll_s:
            return Poll(tuple(slot.element for slot in alive))
        return None

    def _wanted(self) -> Iterator[Slot]:
        return (slot for slot in self.slots.values() if slot.phase is Phase.WANTED)

    def _surplus(self) -> tuple[ElementId, ...]:
        """Elements to cancel: jobs that are too many, and ones that nobody asked for."""
        found = list(self._orphans)
        for slot in self.slots.values():
            if slot.leaving and slot.has_job and not slot.told:
                slot.told = True
                found.append(slot.element)
        return tuple(found)

    # -- wishes ----------------------------------------------------------------------------------------------------

    def _on_target_changed(self, event: events.TargetChanged) -> None:
        self.target = event.jobs
        free = iter(range(1, event.jobs + len(self.slots) + 1))
        while self._staying() < event.jobs:
            index = next(i for i in free if i not in self.slots)
            self.slots[index] = Slot(index)
        order = [Phase.WITHDRAWN, Phase.WANTED, Phase.SUBMITTING, Phase.PENDING, Phase.VANISHED, Phase.RUNNING]
        for slot in sorted(self.slots.values(), key=lambda s: (order.index(s.phase), s.registered, -s.index)):
            if self._staying() <= event.jobs:
                break
            if slot.has_job or slot.phase is Phase.SUBMITTING:
                slot.leaving = True
            else:
                del self.slots[slot.index]

    def _staying(self) -> int:
        return sum(not slot.leaving for slot in self.slots.values())

    def _on_stop_wanted(self, event: events.StopWanted) -> None:
        if not self.stopping:
            self._stop_deadline_s = event.now_s + STOP_PATIENCE_S
            self._poll_pause_s, self._next_poll_s = 0.5, event.now_s + 0.5
            self.slots = {i: s for i, s in self.slots.items() if s.has_job or s.phase is Phase.SUBMITTING}
        self.stopping = True
        self._at_once = self._at_once or event.at_once

    # -- answers of the batch system -------------------------------------------------------------------------------

    def _on_submitted(self, event: events.Submitted) -> None:
        self._busy = False
        self._adopt(event.array.id, event.array.elements, event.now_s)
        self._withdraw(event.array.refused)
        self._trouble_over()

    def _withdraw(self, refused: Mapping[int, str]) -> None:
        """Elements that were not taken although the others were."""
        for index in refused:
            if (slot := self.slots.get(index)) and slot.phase is Phase.SUBMITTING:
                slot.phase = Phase.WITHDRAWN
        if refused:
            lines = "".join(f"\n  {why}" for why in dict.fromkeys(refused.values()))
            self._tell(f"{len(refused)} jobs were not taken and are not submitted again:{lines}", warning=True)

    def _adopt(self, array: str, elements: dict[int, ElementId], now_s: float) -> None:
        self._known_arrays.add(array)
        for index, element in elements.items():
            slot = self.slots.get(index)
            if slot is None or slot.has_job:
                self._orphans.append(element)
                continue
            slot.take(element, array, now_s)
        self._poll_pause_s = 0.5 if self.stopping else 1.0
        self._next_poll_s = now_s + self._poll_pause_s

    def _on_submit_failed(self, event: events.SubmitFailed) -> None:
        self._busy = False
        for index in range(event.first, event.last + 1):
            if (slot := self.slots.get(index)) and slot.phase is Phase.SUBMITTING:
                slot.phase = Phase.WANTED
        if self.stopping:
            self._find_due = event.uncertain and self._can_find
        elif event.uncertain and not self._can_find:
            self._give_up(f"{event.text}\nperhaps the jobs are there all the same: look for them first", refused=True)
        elif event.transient:
            self._find_due = event.uncertain and self._can_find
            self._retry_later(event.text, event.now_s)
        else:
            self._give_up(event.text, refused=True)

    def _on_found(self, event: events.Found) -> None:
        self._busy = self._find_due = False
        for array in event.arrays:
            if array.id not in self._known_arrays:
                self._tell(f"the batch system had taken the jobs all the same: {array.id}")
                self._adopt(array.id, array.elements, event.now_s)
                self._trouble_over()

    def _on_find_failed(self, event: events.FindFailed) -> None:
        self._busy = False
        self._retry_later(event.text, event.now_s)

    def _retry_later(self, text: str, now_s: float) -> None:
        self._attempts += 1
        pause_s = min(60.0, 2.0**self._attempts)
        self._next_submit_s = now_s + pause_s
        if self._trouble_since_s is None:
            self._trouble_since_s = now_s
            self._tell(f"the batch system does not take jobs now: {text}", warning=True)
        if now_s - self._trouble_since_s > PATIENCE_S:
            self._find_due = False
            self._give_up(text, refused=True)
        self._trouble = f"submission failed {self._attempts} times, next try in {pause_s:.0f} s"

    def _trouble_over(self) -> None:
        self._trouble, self._trouble_since_s, self._attempts = "", None, 0
        self._next_submit_s = 0.0

    def _on_polled(self, event: events.Polled) -> None:
        self._busy = False
        if self._failed_polls >= 2:
            self._tell("the batch system answers again")
        self._failed_polls = 0
        before = [(slot.phase, slot.element) for slot in self.slots.values()]
        for slot in [slot for slot in self.slots.values() if slot.has_job]:
            self._learn(slot, event.statuses.get(slot.element), event.now_s)
        changed = before != [(slot.phase, slot.element) for slot in self.slots.values()]
        self._plan_poll(event.now_s, changed)

    def _plan_poll(self, now_s: float, changed: bool) -> None:
        young = any(slot.has_job and not slot.registered for slot in self.slots.values())
        limit_s = 3.0 if self.stopping else 5.0 if changed else 10.0 if young else 30.0
        self._poll_pause_s = min(self._poll_pause_s * 1.5, limit_s)
        if any(slot.gone_polls for slot in self.slots.values() if slot.has_job):
            self._poll_pause_s = 1.0  # is it really gone?
        self._next_poll_s = now_s + self._poll_pause_s

    def _on_poll_failed(self, event: events.PollFailed) -> None:
        self._busy = False
        self._failed_polls += 1
        if self._failed_polls == 2:
            self._tell(f"the batch system does not tell the state of the jobs: {event.text}", warning=True)
        self._poll_pause_s = min(self._poll_pause_s * 2, 30.0)
        self._next_poll_s = event.now_s + self._poll_pause_s

    def _on_inquired(self, event: events.Inquired) -> None:
        self._busy = False
        for index, status in event.statuses.items():
            slot = self.slots.get(index)
            if slot is not None and slot.phase is Phase.VANISHED:
                unexplained = status.state in (JobState.GONE, JobState.CANCELLED)
                stuck = slot.status.state is JobState.STUCK and unexplained
                self._end(slot, slot.status if stuck else status, event.now_s)
        for slot in self.slots.values():
            if slot.phase is Phase.VANISHED:  # no answer: its absence is noticed again
                slot.phase, slot.gone_polls = Phase.RUNNING, 0

    def _on_cancelled(self, event: events.Cancelled) -> None:
        self._busy = False
        self._orphans.clear()
        self._next_poll_s = min(self._next_poll_s, event.now_s + 0.5)

    def _on_cancel_failed(self, event: events.CancelFailed) -> None:
        self._busy = False
        self._tell(f"cancelling failed, it is tried again: {event.text}", warning=True)
        for slot in self.slots.values():
            slot.told = False
        self._told_to_stop = False
        self._next_cancel_s = event.now_s + 2.0
        self._next_poll_s = max(self._next_poll_s, event.now_s + 1.0)

    # -- one job ---------------------------------------------------------------------------------------------------

    def _learn(self, slot: Slot, status: JobStatus | None, now_s: float) -> None:
        """Take in what the batch system says of the job of a slot."""
        if status is None or status.state is JobState.GONE:
            slot.gone_polls += 1
            if slot.leaving or self.stopping:
                del self.slots[slot.index]
            elif slot.gone_polls > 1:  # A job just submitted may not be listed yet.
                slot.phase = Phase.VANISHED
            return
        slot.gone_polls = 0
        if status.state is JobState.UNKNOWN:
            return
        slot.status = status
        if status.state is JobState.PENDING:
            if slot.phase is Phase.RUNNING and not slot.workers:  # requeued by the batch system
                slot.phase, slot.registered = Phase.PENDING, False
        elif status.state is JobState.RUNNING:
            slot.run(now_s)
            self._worry(slot, now_s)
        elif status.state is JobState.STUCK:
            if not (slot.leaving or self.stopping):
                slot.phase = Phase.VANISHED  # asks why; then it is cleared away
        elif status.state is not JobState.COMPLETING:
            self._end(slot, status, now_s)

    def _worry(self, slot: Slot, now_s: float) -> None:
        if slot.registered or slot.worried or slot.leaving or self.stopping:
            return
        if now_s - slot.running_since_s > WORRY_S:
            slot.worried = True
            text = f"the job {slot.element} has run for {WORRY_S:.0f} s and its worker has not registered"
            self._tell(text, warning=True, index=slot.index)

    def _end(self, slot: Slot, status: JobStatus, now_s: float) -> None:
        """The job of a slot has ended by itself, by us, or by somebody else."""
        if slot.leaving or self.stopping:
            del self.slots[slot.index]
            return
        element, registered = slot.element, slot.registered
        if JobState.STUCK in (slot.status.state, status.state):
            self._orphans.append(element)
        slot.status = status
        if status.state is JobState.CANCELLED:
            slot.release(now_s)
            slot.phase = Phase.WITHDRAWN
            self._tell(f"somebody cancelled the job {element}: it is not submitted again")
        elif registered or status.state in _INFRASTRUCTURE:
            slot.release(now_s)
            again = "" if self.gave_up else f"; it is submitted again in {slot.pause_s:.0f} s"
            self._tell(f"the job {element} has ended: {status.describe()}{again}", warning=True, index=slot.index)
        else:
            slot.release(now_s)
            self._failures.append((slot.index, element, status))
            if len(self._failures) >= FAILURES_IN_A_ROW:
                self._give_up("", refused=False)

    def _give_up(self, text: str, *, refused: bool) -> None:
        failures = tuple(self._failures)
        if not refused:
            count = len(failures)
            text = f"{count} jobs in a row ended before their workers registered, no more are submitted"
        if not self.gave_up:
            self.gave_up = text
            self._actions.append(GiveUp(text, refused, failures))

    def _tell(self, text: str, *, warning: bool = False, index: int | None = None) -> None:
        self._actions.append(Tell(text, warning, index))

    # -- workers ---------------------------------------------------------------------------------------------------

    def _on_worker_came(self, event: events.WorkerCame) -> None:
        slot = self._slot_of(event.name)
        if slot is None or self._is_of_others(event, slot):
            self._adopted.add(event.name)
            return
        slot.workers.add(event.name)
        if slot.has_job:
            slot.registered = True
            slot.run(event.now_s)
            self._failures.clear()

    def _is_of_others(self, event: events.WorkerCame, slot: Slot) -> bool:
        """Whether a user submitted its job: then it is called after the job, which may look like a name of ours."""
        return bool(event.job_id) and event.name.startswith(event.job_id) and event.job_id != slot.element

    def _on_worker_left(self, event: events.WorkerLeft) -> None:
        if event.name in self._adopted:
            self._adopted.remove(event.name)
            return
        slot = self._slot_of(event.name)
        if slot is not None:
            slot.workers.discard(event.name)
            self._poll_pause_s = min(self._poll_pause_s, 1.0)
            self._next_poll_s = min(self._next_poll_s, event.now_s + 1.0)

    def _slot_of(self, worker: str) -> Slot | None:
        prefix = f"{self.name}."
        index = worker[len(prefix) :].partition("-")[0] if worker.startswith(prefix) else ""
        return self.slots.get(int(index)) if index.isdecimal() else None


_HANDLERS: dict[type[events.Event], Callable[[ScalingMachine, Any], None]] = {
    events.Tick: lambda _machine, _event: None,
    events.TargetChanged: ScalingMachine._on_target_changed,
    events.StopWanted: ScalingMachine._on_stop_wanted,
    events.Submitted: ScalingMachine._on_submitted,
    events.SubmitFailed: ScalingMachine._on_submit_failed,
    events.Found: ScalingMachine._on_found,
    events.FindFailed: ScalingMachine._on_find_failed,
    events.Polled: ScalingMachine._on_polled,
    events.PollFailed: ScalingMachine._on_poll_failed,
    events.Inquired: ScalingMachine._on_inquired,
    events.Cancelled: ScalingMachine._on_cancelled,
    events.CancelFailed: ScalingMachine._on_cancel_failed,
    events.WorkerCame: ScalingMachine._on_worker_came,
    events.WorkerLeft: ScalingMachine._on_worker_left,
}
