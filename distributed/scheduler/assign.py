"""Handing one task to one worker, and keeping account of which workers have room."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter

from distributed.messages import AddFunction, Message, RunBlock, RunTask, StealTask
from distributed.scheduler.placement import addresses_of, has_room, is_closed
from distributed.scheduler.state import Function, Inputs, State, Task, Worker
from distributed.scheduler.states import MEMORY, PROCESSING
from distributed.scheduler.transitions import outbox

__all__ = ["ask_back", "assign", "assign_all", "book", "describe", "introduce", "update_room"]

_FUNCTION = attrgetter("function")
_FUNCTION_AND_INPUTS = attrgetter("function", "inputs")
_NO_KEYS: list[str] = []
_NO_SOURCES: dict[str, list[str]] = {}
_NO_SIZES: dict[str, int] = {}


def introduce(state: State, function: Function, worker: Worker) -> list[Message]:
    """Return the worker's outbox, in which it has been told of the function."""
    box = worker.outbox or outbox(state, worker)
    if function not in worker.functions:
        worker.functions.add(function)
        box.append(AddFunction(function.id, function.payload))
    return box


def assign(state: State, task: Task, worker: Worker) -> None:
    """Hand a task, whose dependencies are in memory, to a worker."""
    function = task.function
    assert function is not None
    box = introduce(state, function, worker)
    if task not in worker.processing:
        book(state, task, worker)
    state.runs = run = state.runs + 1
    task.state = PROCESSING
    task.run = run
    task.place = worker
    demand = task.demand
    if task.inputs is not None or demand is not state.anything:
        box.append(describe(task, function.id, worker))
        for name, amount in demand.resources.items():
            worker.free[name] -= amount
    else:
        box.append(RunTask(task.key, run, function.id, task.args, task.rank, _NO_KEYS, _NO_SOURCES, _NO_SIZES))
    if task.dependents is not None and len(task.dependents) == 1:
        state.leaders.append(task)


def book(state: State, task: Task, worker: Worker) -> Task:
    """Put a task, and what it is thought to take, on the worker's books; return it."""
    assert task.function is not None
    task.state = PROCESSING
    worker.processing[task] = duration_s = task.function.duration_s
    worker.busy_s += duration_s
    state.changed[worker] = None
    return task


def assign_all(state: State, tasks: list[Task], worker: Worker) -> None:
    """Hand tasks that any worker can run, and are on this one's books already, to it.

    All have dependencies, or none has.
    """
    for _, block in groupby(tasks, _FUNCTION if tasks[0].inputs is None else _FUNCTION_AND_INPUTS):
        alike = list(block)
        if len(alike) == 1:
            assign(state, alike[0], worker)
        else:
            _assign_block(state, alike, worker)


def _assign_block(state: State, tasks: list[Task], worker: Worker) -> None:
    function, inputs = tasks[0].function, tasks[0].inputs
    assert function is not None
    box = introduce(state, function, worker)
    first = run = state.runs + 1
    for task in tasks:
        task.run = run
        task.place = worker
        run += 1
        if task.dependents is not None and len(task.dependents) == 1:
            state.leaders.append(task)
    state.runs = run - 1
    keys, args, ranks = [task.key for task in tasks], [task.args for task in tasks], [task.rank for task in tasks]
    order = RunBlock(function.id, first, keys, args, ranks)
    if inputs is not None:
        order.dependencies = [dependency.key for dependency in inputs.tasks]
        order.who_has, order.nbytes = _sources(inputs, worker, first)
    box.append(order)


def describe(task: Task, function: str, worker: Worker) -> RunTask:
    """Return the order to run a task, its run and state set, with where to get what the worker does not have."""
    run, inputs = task.run, task.inputs
    keys, who_has, sizes = _NO_KEYS, _NO_SOURCES, _NO_SIZES
    if inputs is not None:
        keys = [dependency.key for dependency in inputs.tasks]
        who_has, sizes = _sources(inputs, worker, run)
    return RunTask(task.key, run, function, task.args, task.rank, keys, who_has, sizes, task.demand.resources or None)


def _sources(inputs: Inputs, worker: Worker, run: int) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Return where to get what the worker does not have, and how large that is."""
    coming = worker.coming
    absent = [dependency for dependency in worker.data.lacking(inputs.tasks) if dependency.state == MEMORY]
    if absent:
        # Where a thing lies is told once for all tasks of a worker that need it, unless its holders change meanwhile.
        absent = [dependency for dependency in absent if coming.get(dependency) is not dependency.holders]
        coming.update([(dependency, dependency.holders) for dependency in absent])
    if not absent:
        return _NO_SOURCES, _NO_SIZES
    where = {dependency.key: addresses_of(dependency.holders, run) for dependency in absent}
    return where, {dependency.key: dependency.nbytes for dependency in absent}


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
    victim.coming.clear()  # when it gives the task back it does not fetch for it any more
    if thief is not None:
        thief.robbing += 1
    outbox(state, victim).append(StealTask(task.key, task.run))
    state.changed[victim] = None
