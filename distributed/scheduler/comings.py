"""Workers that come and go, and what a lost one means for the tasks that it had.

After an unexpected end every task that was handed to the worker is a suspect: it may have been the cause.  One that
was at ``allowed_failures`` workers when they died is not tried again.
"""

from __future__ import annotations

from distributed.messages import KeyInMemory
from distributed.scheduler.copies import copy_arrived, target_gone
from distributed.scheduler.events import WorkerJoined, WorkerLeft
from distributed.scheduler.failures import killed_error
from distributed.scheduler.state import Death, State, Task, Worker
from distributed.scheduler.states import ERRED, MEMORY, RELEASED, WAITING, is_active
from distributed.scheduler.transitions import (
    add_copy,
    complete,
    drop,
    fail,
    notify,
    reconsider,
    recover,
    relax,
    remove_copy,
    stop,
    trouble_of,
    unassign,
)
from distributed.scheduler.wishes import restore

__all__ = ["join", "leave"]

MOST_REMEMBERED = 100_000
"""Of so many results we remember who held them when it was lost."""


def join(state: State, event: WorkerJoined) -> None:
    """A worker registered; what it still holds is taken back if it is what we think it is."""
    if event.address in state.workers:
        reason = f"{event.address}: another worker registered at its address"
        leave(state, WorkerLeft(event.address, reason, False))
    worker = state.workers[event.address] = Worker(event, state.prefetch_s)
    for demand in (state.anything, *state.demands.values()):
        demand.consider(worker)
    state.changed[worker] = None
    held = state.departed.pop(event.address, {})
    for key, nbytes in event.data.items():
        task = state.tasks.get(key)
        # The very same task, not only one of the same key: that may be another function's by now.
        if task is None or task not in held or not _take_back(state, task, worker, nbytes):
            drop(state, worker, key)


def _take_back(state: State, task: Task, worker: Worker, nbytes: int) -> bool:
    """Whether the result is of use."""
    if task.state == MEMORY:
        add_copy(task, worker)
        copy_arrived(state, task, worker)
    elif is_active(task.state):
        stop(state, task)
        relax(state, task)
        complete(state, task, worker, nbytes, task.odd_type)
        notify(state, task, KeyInMemory(task.key, task.type_name, task.nbytes, worker.addresses))
    elif task.function is None and task.state in (ERRED, RELEASED) and task.wanters:
        restore(state, task, worker, max(0, nbytes))
    else:
        return False
    return True


def leave(state: State, event: WorkerLeft) -> None:
    """A worker is gone: its tasks go elsewhere, and results that only it held are computed again."""
    worker = state.workers.pop(event.address, None)
    if worker is None:
        return
    expected = event.expected or worker.leaving
    for demand in (state.anything, *state.demands.values()):
        demand.dismiss(worker)
    if worker.robbing:
        for task, thief in state.stealing.items():
            if thief is worker:
                state.stealing[task] = None
    if state.fetching:
        target_gone(state, worker)
    if not expected:
        _remember(state, worker)
    gone = [task for task in list(worker.data) if remove_copy(state, task, worker)]
    _take_tasks(state, worker, None if expected else Death(event.address, event.reason))
    recover(state, gone)
    for workers in (state.open, state.idle, state.vacant, state.rich, state.reserved, state.changed):
        workers.pop(worker, None)


def _take_tasks(state: State, worker: Worker, death: Death | None) -> None:
    # Who follows comes first, as long as its leader is there: a line is taken apart from its ends.
    for task in (*worker.ahead, *worker.processing):
        if task.place is not worker:
            continue  # it failed with one that came before
        unassign(state, task)
        if death is None:
            reconsider(state, task)
            continue
        trouble = trouble_of(task)
        trouble.deaths = (*trouble.deaths, death)
        if len(trouble.deaths) < state.allowed_failures:
            reconsider(state, task)
        else:
            task.state = WAITING
            fail(state, task, killed_error(task.key, [death.reason for death in trouble.deaths]))


def _remember(state: State, worker: Worker) -> None:
    if worker.data:
        state.departed[worker.address] = dict.fromkeys(worker.data)
    total = sum(map(len, state.departed.values()))
    while total > MOST_REMEMBERED:
        oldest = next(iter(state.departed))
        total -= len(state.departed.pop(oldest))
