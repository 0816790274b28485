"""Giving an idle worker some of what waits at a busy one.

Only tasks that have not started can be had: the victim answers by giving them back, or simply by their end.
"""

from __future__ import annotations

from itertools import islice

from distributed.scheduler.assign import ask_back, update_room
from distributed.scheduler.placement import is_closed, transfer_s, wait_s
from distributed.scheduler.state import State, Task, Worker

__all__ = ["may_receive", "rob"]

MOVE_S = 1e-4
"""What it costs to move a task: shorter ones stay where they are."""
WORTH_S = 0.001
"""Who waits less than this is not helped."""
LOOK_AT_VICTIMS = 16
MOST_MISSES = 16


def may_receive(state: State, worker: Worker, task: Task) -> bool:
    """Whether the worker can take this task that was somewhere else."""
    return not is_closed(worker) and worker not in state.reserved and task.demand.fits(worker)


def rob(state: State, thief: Worker, insist: bool = False) -> None:
    """Ask a rich worker for half of what it cannot have started.

    Without ``insist`` only if the durations that are known say that it is worth it: they may mislead, so the thief
    insists when it has been idle for a while.
    """
    if thief.robbing or not state.rich:
        return
    candidates = [worker for worker in islice(state.rich, LOOK_AT_VICTIMS) if worker is not thief]
    if not candidates:
        return
    victim = max(candidates, key=wait_s)
    # Whoever was looked at goes to the end, so that all have their turn.
    state.rich[victim] = state.rich.pop(victim)
    running = victim.executing if victim.paused else victim.nthreads
    unstarted = len(victim.processing) - victim.asked - running
    most = min((unstarted + 1) // 2, state.prefetch_tasks // 2)
    misses = 0
    for task in list(islice(reversed(victim.processing), most + MOST_MISSES)):
        if most <= 0 or misses >= MOST_MISSES:
            break
        if task not in state.stealing and _is_worth(state, task, victim, thief, unstarted, insist):
            ask_back(state, task, thief)
            most -= 1
        else:
            misses += 1
    update_room(state, victim)


def _is_worth(state: State, task: Task, victim: Worker, thief: Worker, unstarted: int, insist: bool) -> bool:
    function = task.function
    assert function is not None
    if not insist:
        if function.duration_s < MOVE_S:
            return False
        waiting_s = max(wait_s(victim), unstarted * function.duration_s / victim.nthreads)
        if waiting_s < WORTH_S + transfer_s(task, thief):
            return False
    return may_receive(state, thief, task)
