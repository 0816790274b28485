"""Where a task should run: pure questions about workers and tasks, nothing is changed here.

A place costs the time until the task could start there: the work before it, and the bytes it would have to fetch.
"""

from __future__ import annotations

from collections.abc import Iterable

from distributed.scheduler.state import State, Task, Worker

__all__ = [
    "SHORTEST_S",
    "addresses_of",
    "choose",
    "has_room",
    "is_closed",
    "transfer_s",
    "wait_s",
]

BYTES_PER_S = 100e6
"""What a transfer between workers is thought to reach; too low rather than too high keeps work with its data."""
FETCH_S = 0.001
"""What any transfer costs, however small."""
SHORTEST_S = 1e-5
"""No task takes less, what it costs to start it counted in."""
MOST_HOLDERS = 8
"""Of data that is on many workers so many are looked at, and named to others."""
MOST_DEPENDENCIES = 16
"""Of many dependencies so many, evenly taken, stand for all."""


def is_closed(worker: Worker) -> bool:
    """Whether the worker takes no task at all now."""
    return worker.paused or worker.leaving


def has_room(state: State, worker: Worker) -> bool:
    """Whether the worker should be given more: enough to hide the way to it, little enough to stay fair."""
    held = len(worker.processing)
    return held <= worker.nthreads or (worker.busy_s < worker.limit_s and held < state.prefetch_tasks)


def wait_s(worker: Worker) -> float:
    """Seconds until a task given to the worker now would start, as far as known."""
    if len(worker.processing) < worker.nthreads:
        return 0.0
    return worker.busy_s / worker.nthreads


def transfer_s(task: Task, worker: Worker) -> float:
    """Seconds to bring the task's dependencies to the worker."""
    absent = [dependency.nbytes for dependency in worker.data.lacking(task.dependencies)]
    return FETCH_S + sum(absent) / BYTES_PER_S if absent else 0.0


def _sample(dependencies: tuple[Task, ...]) -> tuple[Task, ...]:
    step = -(-len(dependencies) // MOST_DEPENDENCIES)
    return dependencies[::step]


def choose(state: State, task: Task, worker: Worker) -> Worker:
    """Return where to run a task whose dependencies are in memory: at ``worker``, which has room, or with its data.

    A worker without room is chosen if moving the data would take longer than waiting there.
    """
    demand = task.demand
    if demand.loose:
        return worker
    assert task.inputs is not None
    dependencies = task.inputs.tasks
    scale = 1.0
    if len(dependencies) > MOST_DEPENDENCIES:
        sample = _sample(dependencies)
        scale, dependencies = len(dependencies) / len(sample), sample
    near: dict[Worker, int] = {}
    total = 0
    for dependency in dependencies:
        nbytes = dependency.nbytes + 1
        total += nbytes
        for holder in dependency.holders[:MOST_HOLDERS]:
            near[holder] = near.get(holder, 0) + nbytes
    absent = sum([dependency.nbytes + 1 for dependency in worker.data.lacking(dependencies)])
    best, least_s = worker, wait_s(worker) + (FETCH_S + scale * absent / BYTES_PER_S if absent else 0.0)
    for holder, nbytes in near.items():
        absent = total - nbytes
        cost_s = wait_s(holder) + (FETCH_S + scale * absent / BYTES_PER_S if absent > 0 else 0.0)
        if cost_s < least_s and _may_take(state, task, holder):
            best, least_s = holder, cost_s
    return best


def _may_take(state: State, task: Task, worker: Worker) -> bool:
    return (
        not is_closed(worker)
        and worker not in state.reserved
        and len(worker.processing) < state.prefetch_tasks
        and task.demand.fits(worker)
    )


def addresses_of(holders: tuple[Worker, ...], turn: int) -> list[str]:
    """Return addresses of holders to fetch from, not all of very many; ``turn`` spreads the load over them."""
    if len(holders) == 1:
        return holders[0].addresses
    if len(holders) <= MOST_HOLDERS:
        return [holder.address for holder in holders]
    start = turn % len(holders)
    return [holder.address for holder in _cycle(holders, start)]


def _cycle(holders: tuple[Worker, ...], start: int) -> Iterable[Worker]:
    return (holders + holders)[start : start + MOST_HOLDERS]
