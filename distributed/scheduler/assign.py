"""Handing one task to one worker, and keeping account of which workers have room."""

from __future__ import annotations

from distributed.messages import AddFunction, RunTask, StealTask
from distributed.scheduler.placement import addresses_of, has_room, is_closed
from distributed.scheduler.state import RANK_BITS, State, Task, Worker
from distributed.scheduler.states import PROCESSING
from distributed.scheduler.transitions import outbox

__all__ = ["ask_back", "assign", "update_room"]

_ORDER = (1 << RANK_BITS) - 1
_NO_SOURCES: dict[str, list[str]] = {}
_NO_SIZES: dict[str, int] = {}


def assign(state: State, task: Task, worker: Worker) -> None:
    """Hand a task, whose dependencies are in memory, to a worker."""
    function = task.function
    assert function is not None
    box = worker.outbox or outbox(state, worker)
    if function not in worker.functions:
        worker.functions.add(function)
        box.append(AddFunction(function.id, function.payload))
    duration_s = function.duration_s
    worker.processing[task] = duration_s
    worker.busy_s += duration_s
    state.runs = run = state.runs + 1
    task.state = PROCESSING
    task.run = run
    task.place = worker
    if task.dependencies or task.options is not None:
        box.append(_described(task, function.id))
        if task.demand is not state.anything:
            for name, amount in task.demand.resources.items():
                worker.free[name] -= amount
        state.changed[worker] = None
    else:
        box.append(RunTask(task.key, run, function.id, task.args, (0, task.rank), _NO_SOURCES, _NO_SIZES))


def _described(task: Task, function: str) -> RunTask:
    rank, run = task.rank, task.run
    return RunTask(
        task.key,
        run,
        function,
        task.args,
        (rank >> RANK_BITS, rank & _ORDER),
        {dependency.key: addresses_of(dependency.holders, run) for dependency in task.dependencies},
        {dependency.key: dependency.nbytes for dependency in task.dependencies},
        task.demand.resources or None,
    )


def update_room(state: State, worker: Worker) -> None:
    """Put the worker on the lists that its number of tasks earns it, and take it off the others."""
    held = len(worker.processing)
    closed = is_closed(worker)
    if held or closed:
        state.vacant.pop(worker, None)
    else:
        state.vacant[worker] = None
    if closed or worker in state.reserved or not has_room(state, worker):
        state.open.pop(worker, None)
        state.idle.pop(worker, None)
    else:
        state.open[worker] = None
        if held < worker.nthreads:
            state.idle[worker] = None
        else:
            state.idle.pop(worker, None)
    if held - worker.asked > (worker.executing if worker.paused else worker.nthreads):
        state.rich[worker] = None
    else:
        state.rich.pop(worker, None)


def ask_back(state: State, task: Task, thief: Worker | None) -> None:
    """Ask the worker that has the task to give it back unless it has started; for ``thief`` if not None."""
    victim = task.place
    assert victim is not None
    state.stealing[task] = thief
    victim.asked += 1
    if thief is not None:
        thief.robbing += 1
    outbox(state, victim).append(StealTask(task.key, task.run))
    state.changed[victim] = None
