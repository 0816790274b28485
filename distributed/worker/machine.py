"""The worker's decisions: what waits, what is fetched, what runs, what is kept.  Pure: no clock,
socket or thread.

A task is at one place at a time:

- ``waiting``: dependencies are missing; they are fetched, or computed here before it (``needed_by``
  says who waits for them);
- ``resources.blocked``: ready, but a resource that it asks for is in use;
- ``active``: given to the executor, whose threads take tasks by rank, so we do not know which
  have started; also one that waits for nothing but the result of an active task (``lines``);
- ``abandoned``: given to the executor and cancelled since; its end is ignored.

Every RunTask is answered once, by its end, by TaskReturned or by TaskMissingData, unless it is
cancelled or the scheduler is lost.  ``held`` is what is here, values and all; the machine looks at no value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any

from distributed.errors import RemoteProtocolError
from distributed.messages import (
    AddFunction,
    CancelTask,
    DataAdded,
    DataDropped,
    DropData,
    FetchData,
    FetchFailed,
    Goodbye,
    Heartbeat,
    Request,
    RunBlock,
    RunTask,
    SetHeartbeat,
    StealTask,
    TaskFinished,
    TaskMissingData,
    TaskReturned,
)
from distributed.tables import shrink
from distributed.worker import events
from distributed.worker.actions import Action, Answer, Beat, Leave, Pause, Resume
from distributed.worker.batch import Batch
from distributed.worker.fetches import Fetches
from distributed.worker.held import Held
from distributed.worker.lines import Lines
from distributed.worker.resources import Resources
from distributed.worker.waiting import Waiting

__all__ = ["PAUSE_ABOVE", "RESUME_BELOW", "WorkerMachine"]

PAUSE_ABOVE = 0.85
RESUME_BELOW = 0.75


class WorkerMachine:
    """The state of the worker at ``address``; ``memory_limit`` in bytes, 0 for none."""

    def __init__(
        self,
        address: str,
        held: dict[str, Held] | None = None,
        *,
        resources: Mapping[str, float] | None = None,
        memory_limit: int = 0,
    ) -> None:
        self.address = address
        self.memory_limit = memory_limit
        self.paused = False
        self.closing = False
        self.held = held if held is not None else {}
        self.active: dict[str, RunTask] = {}
        self.lines = Lines()
        self.waiting: dict[str, Waiting] = {}
        self.needed_by: dict[str, dict[Waiting, None]] = {}
        self.abandoned: set[RunTask] = set()
        self.asked: dict[str, list[str]] = {}
        self.resources = Resources(resources)
        self.fetches = Fetches()
        self._on_event: dict[type, Callable[[Any, Batch], None]] = {
            events.SchedulerMessages: self._scheduler_messages,
            events.Executed: self._executed,
            events.Withdrawn: self._withdrawn,
            events.Fetched: self._fetched,
            events.PeerFailed: self._peer_failed,
            events.DataReceived: self._data_received,
            events.DataDeleted: self._data_deleted,
            events.MemoryMeasured: self._memory_measured,
            events.SchedulerLost: self._scheduler_lost,
            events.SchedulerChanged: self._scheduler_changed,
            events.Closing: self._closing,
        }
        self._on_message: dict[type, Callable[[Any, Batch], None]] = {
            AddFunction: lambda message, batch: batch.functions.update({message.function: message.payload}),
            RunTask: self._run_task,
            RunBlock: self._run_block,
            StealTask: self._steal_task,
            CancelTask: self._cancel_task,
            DropData: self._drop_data,
            FetchData: self._fetch_data,
            SetHeartbeat: lambda message, batch: batch.others.append(Beat(message.period_s)),
            Goodbye: lambda message, batch: batch.others.append(Leave(message.reason)),
            Request: lambda message, batch: batch.others.append(Answer(message)),
        }

    def handle(self, event: events.Event) -> list[Action]:
        """Take in what happened and return what to do, in order.

        Raises RemoteProtocolError for a message that a scheduler must not send; what came before it
        is in force.
        """
        batch = Batch()
        self._on_event[type(event)](event, batch)
        if not self.paused and not self.closing:
            batch.fetches = self.fetches.start()
        return batch.actions()

    # -- from the scheduler ----------------------------------------------------

    def _scheduler_messages(self, event: events.SchedulerMessages, batch: Batch) -> None:
        on_message = self._on_message
        for message in event.messages:
            handler = on_message.get(type(message))
            if handler is None:
                raise RemoteProtocolError(f"a scheduler sends no {type(message).__name__} to a worker")
            handler(message, batch)

    def _run_task(self, task: RunTask, batch: Batch) -> None:
        if self.closing:
            batch.messages.append(TaskReturned(task.key, task.run))
            return
        known = self.current(task.key)
        if known is not None:
            if task.run <= known.run:
                return  # a duplicate, or late
            self._discard(known, batch)
        held = self.held
        missing = [key for key in task.dependencies if key not in held] if task.dependencies else None
        if not missing:
            self._ready(task, batch)
        elif not self._follow(task, missing, batch):
            self._wait(Waiting({task.key: task}, missing, task.who_has, task.nbytes), missing, batch)
        if known is not None and self.current(task.key) is None:
            self._left([task.key], batch)

    def _run_block(self, block: RunBlock, batch: Batch) -> None:
        """Each task is on its own from here on; only the way here was one."""
        numbers = count(block.run)
        columns = zip(block.keys, numbers, block.args, block.ranks, strict=False)  # the numbers do not end
        function, needs, where, sizes = block.function, block.dependencies, block.who_has, block.nbytes
        # Shared also if there are none: three empty containers for each would cost more than the task.
        tasks = [RunTask(key, run, function, args, rank, needs, where, sizes) for key, run, args, rank in columns]
        fresh = dict(zip(block.keys, tasks, strict=True))
        # Views, of which the shorter one is gone through: there may be many tasks here, and few in the block.
        known = (self.active.keys(), self.waiting.keys(), self.resources.blocked.keys(), needs)
        if self.closing or len(fresh) < len(tasks) or not all(fresh.keys().isdisjoint(keys) for keys in known):
            for task in tasks:
                self._run_task(task, batch)
            return
        held = self.held
        if tasks and (missing := [key for key in needs if key not in held]):
            self._wait(Waiting(fresh, missing, block.who_has, block.nbytes), missing, batch)
            return
        self.active.update(fresh)
        batch.execute += tasks

    def current(self, key: str) -> RunTask | None:
        """The task of this key that is to run here, wherever it is."""
        if (task := self.active.get(key)) is not None:
            return task
        if (waiting := self.waiting.get(key)) is not None:
            return waiting.tasks[key]
        return self.resources.blocked.get(key)

    def _ready(self, task: RunTask, batch: Batch) -> None:
        if not task.resources or self.resources.take(task):
            self.active[task.key] = task
            batch.execute.append(task)

    def _follow(self, task: RunTask, missing: list[str], batch: Batch) -> bool:
        """Let a task follow the only one that it waits for, if the executor has that one and nobody else its result."""
        leader = missing[0]
        if len(missing) > 1 or task.resources or task.who_has.get(leader):
            return False
        if leader not in self.active or leader in self.lines.followers:
            return False
        self.active[task.key] = task
        self.lines.followers[leader] = task
        batch.follow.append((self.active[leader], task))
        return True

    def _wait(self, waiting: Waiting, missing: list[str], batch: Batch) -> None:
        """What is missing is on its way already, or is computed here before them, or is to be fetched."""
        who_has, wants, needed_by = waiting.who_has, self.fetches.wants, self.needed_by
        sources: dict[str, list[str]] = {}
        nowhere: dict[str, list[str]] = {}
        for key in missing:
            holders = who_has.get(key)
            # Most are on their way: only the first of the tasks that need a thing is told where it lies.
            if (holders is None and key in wants) or self.current(key) is not None:
                continue
            if others := self._others(holders or ()):
                sources[key] = others
            elif key not in wants:
                nowhere[key] = [self.address] if holders is None else holders
        if nowhere:
            for task in waiting.tasks.values():
                self._give_back(task, nowhere, batch)
            return
        for one in waiting.tasks:
            self.waiting[one] = waiting
        for key in missing:
            dependents = needed_by.get(key)
            if dependents is None:
                needed_by[key] = {waiting: None}
            else:
                dependents[waiting] = None
        for key, others in sources.items():
            self.fetches.want(key, others, waiting.nbytes.get(key))

    def _others(self, holders: Iterable[str]) -> list[str]:
        return [holder for holder in holders if holder != self.address]

    def _give_back(self, task: RunTask, missing: dict[str, list[str]], batch: Batch) -> None:
        batch.messages.append(TaskMissingData(task.key, task.run, missing))

    def _steal_task(self, message: StealTask, batch: Batch) -> None:
        task = self.current(message.key)
        if task is None or task.run != message.run:
            return  # it ended: that message is the answer
        if task.key in self.active:
            self.lines.step_out(task)
            batch.withdraw.append(task)
            return
        self._forget_unstarted(task)
        batch.messages.append(TaskReturned(task.key, task.run))
        self._left([task.key], batch)

    def _cancel_task(self, message: CancelTask, batch: Batch) -> None:
        task = self.current(message.key)
        if task is not None:
            if task.run == message.run:
                self._discard(task, batch)
                self._left([task.key], batch)
        elif (held := self.held.get(message.key)) is not None and held.run == message.run:
            self._forget_data(message.key, batch)

    def _discard(self, task: RunTask, batch: Batch) -> None:
        """Nobody waits for this run any more."""
        if self.active.get(task.key) is task:
            del self.active[task.key]
            self.abandoned.add(task)
            batch.withdraw.append(task)
            batch.withdraw += self.lines.break_off(task)
        else:
            self._forget_unstarted(task)

    def _forget_unstarted(self, task: RunTask) -> None:
        self.resources.blocked.pop(task.key, None)
        waiting = self.waiting.pop(task.key, None)
        if waiting is None:
            return
        del waiting.tasks[task.key]
        if not waiting.tasks:
            for key in waiting.missing:
                self._need_no_more(key, waiting)

    def _need_no_more(self, key: str, dependent: Waiting) -> None:
        dependents = self.needed_by.get(key)
        if dependents is not None:
            dependents.pop(dependent, None)
            if not dependents:
                del self.needed_by[key]
                if key not in self.asked:
                    self.fetches.forget(key)

    def _drop_data(self, message: DropData, batch: Batch) -> None:
        held, drops = self.held, batch.drops
        for key in message.keys:
            if held.pop(key, None) is not None:
                drops.append(key)
        shrink(held)
        for key in message.keys if self.asked else ():
            if self.asked.pop(key, None) is not None and key not in self.needed_by:
                self.fetches.forget(key)

    def _forget_data(self, key: str, batch: Batch) -> bool:
        if self.held.pop(key, None) is None:
            return False
        batch.drops.append(key)
        return True

    def _fetch_data(self, message: FetchData, batch: Batch) -> None:
        here: dict[str, int] = {}
        nowhere: dict[str, list[str]] = {}
        for key, holders in message.who_has.items():
            others = self._others(holders)
            if key in self.held:
                here[key] = self.held[key].nbytes
            elif self.current(key) is not None:
                self.asked[key] = others
            elif others or key in self.fetches:
                self.asked[key] = others
                self.fetches.want(key, others)
            else:
                nowhere[key] = holders
        if here:
            batch.messages.append(DataAdded(here))
        if nowhere:
            batch.messages.append(FetchFailed(nowhere))

    # -- from the executor -----------------------------------------------------

    def _executed(self, event: events.Executed, batch: Batch) -> None:
        active, held, wants, followers = self.active, self.held, self.fetches.wants, self.lines.followers
        finished: list[TaskFinished] = []
        function = ""
        failed: list[str] = []
        for task, message, value in event.outcomes:
            key = task.key
            if active.get(key) is not task:
                self._ended_abandoned(task, batch)
                continue
            del active[key]
            if type(message) is TaskFinished:
                # A block is of one type, and of one function, whose duration is learned from it.
                if finished and (message.type_name != finished[0].type_name or task.function != function):
                    batch.finish(finished)
                    finished = []
                function = task.function
                finished.append(message)
                held[key] = Held(value, message.nbytes, message.run)
                if followers and (follower := followers.pop(key, None)) is not None:
                    batch.execute.append(follower)
                if key in self.needed_by or key in self.asked or key in wants:
                    # First that it is there, then what follows from that.
                    batch.finish(finished)
                    finished = []
                    self._arrived(key, batch)
            else:
                batch.finish(finished)
                finished = []
                batch.messages.append(message)
                failed.append(key)
                batch.withdraw += self.lines.break_off(task)
            if task.resources:
                self._release(task, batch)
        batch.finish(finished)
        if failed:
            self._left(failed, batch)

    def _withdrawn(self, event: events.Withdrawn, batch: Batch) -> None:
        left: list[str] = []
        for task in event.tasks:
            if self.active.get(task.key) is not task:
                self._ended_abandoned(task, batch)
                continue
            del self.active[task.key]
            batch.messages.append(TaskReturned(task.key, task.run))
            left.append(task.key)
            batch.withdraw += self.lines.break_off(task)
            if task.resources:
                self._release(task, batch)
        self._left(left, batch)

    def _ended_abandoned(self, task: RunTask, batch: Batch) -> None:
        if task in self.abandoned and task.resources:
            self._release(task, batch)
        self.abandoned.discard(task)

    def _release(self, task: RunTask, batch: Batch) -> None:
        for ready in self.resources.release(task):
            self.active[ready.key] = ready
            batch.execute.append(ready)

    # -- keys that come and keys that do not -----------------------------------

    def _arrived(self, key: str, batch: Batch) -> None:
        """``key`` is held from now on: who waited for it may run."""
        self.fetches.forget(key)
        if self.asked.pop(key, None) is not None:
            batch.messages.append(DataAdded({key: self.held[key].nbytes}))
        for waiting in self.needed_by.pop(key, ()):
            waiting.missing.discard(key)
            if not waiting.missing:
                for task in waiting.tasks.values():
                    del self.waiting[task.key]
                    self._ready(task, batch)

    def _left(self, keys: list[str], batch: Batch) -> None:
        """These keys will not be computed here after all: fetch them, or give back who waits for
        them.
        """
        pending = list(keys)
        while pending:
            key = pending.pop()
            for waiting in list(self.needed_by.get(key, ())):
                holders = self._others(waiting.who_has.get(key, ()))
                if holders:
                    self.fetches.want(key, holders, waiting.nbytes.get(key))
                elif key not in self.fetches:
                    pending += self._give_all_back(waiting, {key: waiting.who_has.get(key, [])}, batch)
            if key in self.asked and key not in self.fetches:
                if holders := self.asked[key]:
                    self.fetches.want(key, holders)
                else:
                    del self.asked[key]
                    batch.messages.append(FetchFailed({key: []}))

    def _fetched(self, event: events.Fetched, batch: Batch) -> None:
        added: dict[str, int] = {}
        for key, nbytes in event.sizes.items():
            if key not in self.fetches:
                continue  # not wanted any more
            self.held[key] = Held(event.values[key], nbytes)
            added[key] = nbytes
            self.asked.pop(key, None)
            self._arrived(key, batch)
        if added:
            batch.messages.append(DataAdded(added))
        self._exhausted(self.fetches.answered(event.address, event.sizes), batch)

    def _peer_failed(self, event: events.PeerFailed, batch: Batch) -> None:
        self._exhausted(self.fetches.lost(event.address), batch)

    def _exhausted(self, keys: dict[str, list[str]], batch: Batch) -> None:
        """No holder of these keys could give them: key -> the holders that were tried."""
        gone: list[str] = []
        missing: dict[Waiting, dict[str, list[str]]] = {}
        for key, tried in keys.items():
            if self.current(key) is not None:
                continue  # told to compute it meanwhile: its end decides
            if self.asked.pop(key, None) is not None:
                batch.messages.append(FetchFailed({key: tried}))
            for dependent in self.needed_by.get(key, ()):
                missing.setdefault(dependent, {})[key] = tried
        for waiting, wanting in missing.items():
            gone += self._give_all_back(waiting, wanting, batch)
        self._left(gone, batch)

    def _give_all_back(self, waiting: Waiting, missing: dict[str, list[str]], batch: Batch) -> list[str]:
        """What these tasks wait for does not come; return their keys."""
        tasks = list(waiting.tasks.values())
        for task in tasks:
            self._forget_unstarted(task)
            self._give_back(task, missing, batch)
        return [task.key for task in tasks]

    # -- from others -----------------------------------------------------------

    def _data_received(self, event: events.DataReceived, batch: Batch) -> None:
        for key, nbytes in event.sizes.items():
            self.held[key] = Held(event.values[key], nbytes)
            self._arrived(key, batch)

    def _data_deleted(self, event: events.DataDeleted, batch: Batch) -> None:
        if dropped := [key for key in event.keys if self._forget_data(key, batch)]:
            batch.messages.append(DataDropped(dropped))

    def _memory_measured(self, event: events.MemoryMeasured, batch: Batch) -> None:
        was_paused = self.paused
        if self.memory_limit:
            if not self.paused and event.memory > PAUSE_ABOVE * self.memory_limit:
                self.paused = True
                batch.others.append(Pause(event.memory))
            elif self.paused and event.memory < RESUME_BELOW * self.memory_limit:
                self.paused = False
                batch.others.append(Resume(event.memory))
        if event.due or self.paused or was_paused:
            batch.messages.append(Heartbeat(event.executing, event.memory, self.paused))

    def _scheduler_lost(self, _event: events.SchedulerLost, batch: Batch) -> None:
        for task in list(self.active.values()):
            self._discard(task, batch)
        self.waiting.clear()
        self.needed_by.clear()
        self.asked.clear()
        self.resources.blocked.clear()
        self.fetches.clear()

    def _scheduler_changed(self, _event: events.SchedulerChanged, batch: Batch) -> None:
        self._scheduler_lost(events.SchedulerLost(), batch)
        for key in list(self.held):
            self._forget_data(key, batch)

    def _closing(self, event: events.Closing, batch: Batch) -> None:
        self.closing = True
        unstarted = [waiting.tasks[key] for key, waiting in self.waiting.items()]
        unstarted += self.resources.blocked.values()
        for task in unstarted:
            self._forget_unstarted(task)
            batch.messages.append(TaskReturned(task.key, task.run))
        self.lines.followers.clear()
        batch.withdraw.extend(self.active.values())
        self.asked.clear()
        self.fetches.clear()
        batch.messages.append(Goodbye(event.reason))
