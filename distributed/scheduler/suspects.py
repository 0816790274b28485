"""Running suspects, tasks that were at a worker when it died, alone.

A suspect is only sent to a worker that has nothing else, and nothing else is sent there until it ends: so if that
worker dies too, it is known who did it.  Busy workers are emptied for suspects when none is vacant, but at most half of
all workers are given to them at a time.
"""

from __future__ import annotations

from distributed.scheduler.assign import ask_back, assign, update_room
from distributed.scheduler.placement import is_closed
from distributed.scheduler.state import Demand, State, Worker
from distributed.scheduler.transitions import call_back

__all__ = ["place_suspects"]


def place_suspects(state: State) -> None:
    """Start suspects on vacant workers, and have busy ones emptied for those that are left."""
    limit = max(1, (len(state.workers) + 1) // 2)
    for demand in list(state.suspected):
        while demand.suspects.live:
            worker = _vacant(state, demand, limit)
            if worker is None:
                break
            task = demand.suspects.pop()
            state.reserved[worker] = None
            worker.alone = task
            assign(state, task, worker)
            state.changed[worker] = None
            update_room(state, worker)
        if not demand.suspects.live:
            del state.suspected[demand]
    _free_reserved(state)
    _reserve(state, limit)


def _vacant(state: State, demand: Demand, limit: int) -> Worker | None:
    for worker in state.reserved:
        if worker in state.vacant and demand.fits(worker):
            return worker
    if len(state.reserved) >= limit:
        return None
    for worker in state.vacant:
        if worker not in state.reserved and demand.fits(worker):
            return worker
    return None


def _free_reserved(state: State) -> None:
    """Let go of workers that are reserved and have no suspect to wait for."""
    for worker in list(state.reserved):
        if worker.alone is not None:
            continue
        if is_closed(worker) or not any(worker in demand.eligible for demand in state.suspected):
            del state.reserved[worker]
            state.changed[worker] = None
            update_room(state, worker)


def _reserve(state: State, limit: int) -> None:
    waiting = sum(demand.suspects.live for demand in state.suspected)
    emptying = sum(worker.alone is None for worker in state.reserved)
    wanted = min(waiting - emptying, limit - len(state.reserved))
    for demand in state.suspected:
        for _ in range(min(wanted, demand.suspects.live)):
            candidates = [
                worker for worker in demand.eligible if worker not in state.reserved and not is_closed(worker)
            ]
            if not candidates:
                break
            _empty(state, min(candidates, key=lambda worker: len(worker.processing)))
            wanted -= 1


def _empty(state: State, worker: Worker) -> None:
    """Send the worker nothing more, and ask back what it cannot have started."""
    state.reserved[worker] = None
    for task in list(worker.ahead):
        if task.place is worker:
            call_back(state, task)
    for task in list(worker.processing)[worker.nthreads :]:
        if task not in state.stealing:
            ask_back(state, task, None)
    state.changed[worker] = None
    update_room(state, worker)
