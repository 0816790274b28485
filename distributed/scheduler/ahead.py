"""Sending tasks ahead: a link of a chain goes to the worker that computes the link before it, and waits there.

Without this every link of a chain costs a way to the scheduler and back.  A task that is handed out is a *leader*;
the one task that depends on it may *follow* it, that is, be sent to the same worker and start there the moment its
input exists.  A follower leads in its turn, so a whole chain can be at its worker.

Rules
- A leader has one follower at most, and only if nothing else depends on it: the thread that ends the leader can take
  up one task, and others had better go where a thread is free.
- The follower needs nothing that would have to be fetched, asks for no resources, and does not rank behind its leader.
- Suspects run alone: they neither lead nor follow.
- Whatever takes a leader off its worker, other than its good end, calls its followers back
  (``transitions.call_followers_back``).
"""

from __future__ import annotations

from distributed.scheduler.assign import describe, introduce
from distributed.scheduler.placement import is_closed
from distributed.scheduler.state import State, Task, Worker
from distributed.scheduler.states import AHEAD, WAITING

__all__ = ["send_followers"]


def send_followers(state: State) -> None:
    """Look at all tasks that were handed out, or got a dependent, in this event: who can follow them, and those?"""
    for task in state.leaders:
        leader: Task | None = task
        while leader is not None:
            follower = _follower(state, leader)
            if follower is not None:
                assert leader.place is not None
                _send(state, follower, leader.place)
            leader = follower
    state.leaders.clear()


def _follower(state: State, leader: Task) -> Task | None:
    worker, dependents = leader.place, leader.dependents
    if worker is None or dependents is None or len(dependents) != 1 or leader.is_troubled:
        return None
    (inputs,) = dependents
    if inputs.missing != 1 or len(inputs.users) != 1:
        return None
    (task,) = inputs.users
    if task.state != WAITING or task.is_troubled or task.rank > leader.rank:
        return None
    if task.demand is not state.anything and (task.demand is not leader.demand or task.demand.resources):
        return None
    if is_closed(worker) or worker in state.reserved or leader in state.stealing:
        return None
    if len(worker.ahead) >= state.prefetch_tasks or not _has_others(worker, task, leader):
        return None
    return task


def _has_others(worker: Worker, task: Task, leader: Task) -> bool:
    """Whether the worker holds all else that the task needs."""
    assert task.inputs is not None
    dependencies = task.inputs.tasks
    return len(dependencies) == 1 or worker.data.lacking(dependencies) == [leader]


def _send(state: State, task: Task, worker: Worker) -> None:
    function = task.function
    assert function is not None
    box = introduce(state, function, worker)
    state.runs += 1
    task.state = AHEAD
    task.run = state.runs
    task.place = worker
    worker.ahead[task] = None
    box.append(describe(task, function.id, worker))
