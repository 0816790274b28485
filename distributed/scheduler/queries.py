"""Questions about the scheduler's state; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distributed.scheduler.placement import is_closed
from distributed.scheduler.state import Demand, State, Task
from distributed.scheduler.states import (
    AHEAD,
    ERRED,
    MEMORY,
    PROCESSING,
    QUEUED,
    RELEASED,
    STATE_NAMES,
    SUSPECT,
)

__all__ = [
    "counts",
    "has_what",
    "nbytes",
    "ncores",
    "processing",
    "who_has",
    "why",
]


def ncores(state: State, workers: Iterable[str] | None = None) -> dict[str, int]:
    """Return address -> threads, of all workers or those at the given addresses."""
    chosen = state.workers if workers is None else [a for a in workers if a in state.workers]
    return {address: state.workers[address].nthreads for address in chosen}


def who_has(state: State, keys: Iterable[str] | None = None) -> dict[str, list[str]]:
    """Return key -> addresses of its holders: none for a key that is not in memory, or not known."""
    if keys is None:
        tasks = [task for task in state.tasks.values() if task.state == MEMORY]
        return {task.key: [worker.address for worker in task.holders] for task in tasks}
    known = ((key, state.tasks.get(key)) for key in keys)
    return {key: [worker.address for worker in task.holders] if task else [] for key, task in known}


def has_what(state: State, workers: Iterable[str] | None = None) -> dict[str, list[str]]:
    """Return address -> keys held there, of all workers or those at the given addresses."""
    chosen = state.workers if workers is None else [a for a in workers if a in state.workers]
    return {address: [task.key for task in state.workers[address].data] for address in chosen}


def nbytes(state: State, keys: Iterable[str] | None = None) -> dict[str, int]:
    """Return key -> bytes of its result, of all keys in memory or the given ones among them."""
    tasks = map(state.tasks.get, state.tasks if keys is None else keys)
    return {task.key: task.nbytes for task in tasks if task is not None and task.state == MEMORY}


def processing(state: State, workers: Iterable[str] | None = None) -> dict[str, list[str]]:
    """Return address -> keys of the tasks handed to that worker and not ended."""
    chosen = state.workers if workers is None else [a for a in workers if a in state.workers]
    handed = {address: (*state.workers[address].processing, *state.workers[address].ahead) for address in chosen}
    return {address: [task.key for task in tasks] for address, tasks in handed.items()}


def counts(state: State) -> dict[str, int]:
    """Return state name -> how many tasks are in it."""
    numbers = [0] * len(STATE_NAMES)
    for task in state.tasks.values():
        numbers[task.state] += 1
    return {name: number for name, number in zip(STATE_NAMES, numbers, strict=True) if number}


def why(state: State, key: str) -> str:
    """Say in one sentence how it stands with a task, above all why it does not run."""
    task = state.tasks.get(key)
    if task is None:
        return f"{key} is not known to this scheduler"
    if task.state == MEMORY:
        return f"{key} is in memory at {_some([worker.address for worker in task.holders])}"
    if task.state == ERRED:
        return _why_failed(task)
    if task.state == RELEASED:
        return f"{key} is released: nobody needs its result now"
    if task.state == PROCESSING:
        return _why_processing(task)
    if task.state == AHEAD:
        return _why_ahead(task)
    if task.state in (QUEUED, SUSPECT):
        return f"{key} {_why_queued(state, task)}"
    waiting = [dep for dep in task.dependencies if dep.state != MEMORY]
    what = "1 dependency" if len(waiting) == 1 else f"{len(waiting)} dependencies"
    return f"{key} waits for {what}: {_some([dependency.key for dependency in waiting])}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _why_failed(task: Task) -> str:
    trouble = task.trouble
    assert trouble is not None
    assert trouble.error is not None
    if trouble.lost is not None:
        return f"{task.key} is lost: {trouble.error.message}"
    name = trouble.error.type_name.rpartition(".")[2]
    if trouble.blame != task.key:
        return f"{task.key} failed because {trouble.blame}, which it depends on, raised {name}"
    return f"{task.key} failed with {name}: {trouble.error.message}"


def _place(task: Task) -> str:
    worker = task.place
    assert worker is not None
    return worker.name if worker.name == worker.address else f"{worker.name} ({worker.address})"


def _why_ahead(task: Task) -> str:
    leader = next(dependency for dependency in task.dependencies if dependency.state != MEMORY)
    return f"{task.key} was sent ahead to {_place(task)}, where it starts when {leader.key} has ended"


def _why_processing(task: Task) -> str:
    worker, place = task.place, _place(task)
    assert worker is not None
    ahead = list(worker.processing).index(task)
    if ahead < worker.nthreads and not worker.paused:
        return f"{task.key} was handed to {place}, which can run it now"
    if worker.paused:
        return f"{task.key} waits at {place}, which starts no task because it is short of memory"
    return f"{task.key} waits at {place} behind {ahead} other tasks"


def _why_queued(state: State, task: Task) -> str:
    demand = task.demand
    if not state.workers:
        return "waits for workers: there are none"
    if not demand.eligible:
        return f"waits: none of {len(state.workers)} workers {_asked(demand)}"
    if all(is_closed(worker) for worker in demand.eligible):
        return f"waits: all {len(demand.eligible)} workers that could run it are short of memory or leaving"
    if task.state == SUSPECT:
        assert task.trouble is not None
        return f"waits for a worker of its own, because a worker that had it died ({task.trouble.deaths[-1].reason})"
    if demand.resources and not any(demand.fits(worker) for worker in demand.eligible):
        names = ", ".join(demand.resources)
        return f"waits until {names} is free at one of {len(demand.eligible)} workers"
    ahead = demand.queue.live - 1
    return f"waits in the queue with {ahead} other tasks for one of {len(demand.eligible)} busy workers"


def _asked(demand: Demand) -> str:
    resources = " and ".join(f"{name} {amount:g}" for name, amount in demand.resources.items())
    if not resources:
        return f"is {_some(sorted(demand.workers))}"
    if demand.workers and not demand.loose:
        return f"is {_some(sorted(demand.workers))} and has {resources}"
    return f"has {resources}"
