"""What workers say.

An answer about a run that is not the task's current one is stale and changes nothing; so is all about unknown keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from distributed.messages import (
    BlockFinished,
    CancelTask,
    DataAdded,
    DataDropped,
    FetchFailed,
    Goodbye,
    Heartbeat,
    KeyInMemory,
    KeysInMemory,
    Message,
    TaskErred,
    TaskFinished,
    TaskMissingData,
    TaskReturned,
)
from distributed.payloads import Payload
from distributed.scheduler.assign import assign
from distributed.scheduler.copies import accuse, copy_arrived, copy_failed
from distributed.scheduler.failures import unreachable_error
from distributed.scheduler.placement import SHORTEST_S
from distributed.scheduler.state import Client, Function, State, Task, Worker
from distributed.scheduler.states import MEMORY, PROCESSING, WAITING
from distributed.scheduler.stealing import may_receive
from distributed.scheduler.transitions import (
    add_copy,
    call_followers_back,
    complete,
    drop,
    fail,
    outbox,
    reconsider,
    recover,
    relax,
    remove_copy,
    stop,
    trouble_of,
    unassign,
)

__all__ = ["ALLOWED", "take_reports"]

_Row: TypeAlias = tuple[str, int, int, Payload | None]
"""A result: key, run, bytes, and the payload if it is small."""
_Columns: TypeAlias = tuple[list[str], list[int], list[Payload | None]]
"""Results: keys, bytes, and the payloads of small ones."""

MISSED_LIMIT = 10
"""So often in a row a task may find its dependencies out of reach."""
MEMORABLE = 20
"""The mean duration of a function is that of about so many last tasks."""
LONGEST_S = 1e7


def take_reports(state: State, worker: Worker, messages: Sequence[Message]) -> None:
    """Take a batch from a worker."""
    for message in messages:
        _HANDLERS[type(message)](state, worker, message)


# -- ends of tasks ----------------------------------------------------------------------------------------------


def _current(state: State, worker: Worker, key: str, run: int) -> Task | None:
    """The task, if this worker has it and this run of it is the one that counts."""
    task = state.tasks.get(key)
    if task is None or task.run != run or task.place is not worker:
        return None
    return task


def _finished(state: State, worker: Worker, message: TaskFinished) -> None:
    row = ((message.key, message.run, message.nbytes, message.result),)
    _take_results(state, worker, message.type_name, message.duration_s, row)


def _block_finished(state: State, worker: Worker, message: BlockFinished) -> None:
    rows = zip(message.keys, message.runs, message.nbytes, message.results, strict=True)
    _take_results(state, worker, message.type_name, message.duration_s / max(1, len(message.keys)), rows)


def _take_results(state: State, worker: Worker, type_name: str, mean_s: float, rows: Iterable[_Row]) -> None:
    """Take results, mostly in bulk: this is the scheduler's hottest path, so it is one plain loop.

    Tasks of one function make up most blocks, and one client most of who wants them: what these have in common is
    done when they change, not per task.
    """
    state.changed[worker] = None
    tasks, processing, anything = state.tasks, worker.processing, state.anything
    function: Function | None = None
    count = 0
    odd_type = ""
    told: _Columns = ([], [], [])
    keys, sizes, results = told
    wanters: tuple[Client, ...] = ()
    for key, run, nbytes, result in rows:
        task = tasks.get(key)
        if task is None or task.run != run or task.place is not worker:
            _stale(state, worker, key, run)
            continue
        if task.function is not function:
            if function is not None:
                _learn_duration(function, count, count * mean_s)
            function, count = task.function, 0
            assert function is not None
            if not function.type_name:
                function.type_name = type_name
            odd_type = type_name if function.type_name != type_name else ""
        count += 1
        if task.trouble is not None or state.stealing or task.demand is not anything or task.state != PROCESSING:
            unassign(state, task)
        else:
            # What unassign would do, without what this task does not have.
            worker.busy_s -= processing.pop(task)
            task.place = None
            task.run = 0
        complete(state, task, worker, nbytes, odd_type)
        if task.wanters:
            if task.wanters is not wanters:
                _tell(state, wanters, worker, type_name, told)
                wanters, told = task.wanters, ([], [], [])
                keys, sizes, results = told
            keys.append(key)
            sizes.append(task.nbytes)
            results.append(result)
        if task.inputs is not None:
            relax(state, task)
    _tell(state, wanters, worker, type_name, told)
    if function is not None:
        _learn_duration(function, count, count * mean_s)
    if not processing:
        worker.coming.clear()


def _tell(state: State, wanters: tuple[Client, ...], worker: Worker, type_name: str, told: _Columns) -> None:
    """Tell clients of results at a worker, of one as of one."""
    keys, sizes, results = told
    if not keys:
        return
    message: Message
    if len(keys) == 1:
        message = KeyInMemory(keys[0], type_name, sizes[0], worker.addresses, results[0])
    else:
        message = KeysInMemory(type_name, worker.addresses, keys, sizes, results)
    for client in wanters:
        outbox(state, client).append(message)


def _learn_duration(function: Function, count: int, total_s: float) -> None:
    if not 0.0 <= total_s < LONGEST_S:
        return  # nonsense
    samples = min(function.samples, MEMORABLE)
    known_s = function.duration_s * samples
    function.duration_s = max(SHORTEST_S, (known_s + total_s) / (samples + count))
    function.samples += count


def _stale(state: State, worker: Worker, key: str, run: int) -> None:
    """A result that nobody waits for, unless it is one that we know: the worker should not keep it."""
    task = state.tasks.get(key)
    if task is None or (task not in worker.data and task.place is not worker):
        outbox(state, worker).append(CancelTask(key, run))


def _erred(state: State, worker: Worker, message: TaskErred) -> None:
    task = _current(state, worker, message.key, message.run)
    if task is None:
        return
    unassign(state, task)
    call_followers_back(state, task)
    trouble = trouble_of(task)
    trouble.deaths = ()  # whoever raises has not killed
    if trouble.retries is None:
        trouble.retries = trouble.allowed
    if trouble.retries > 0:
        trouble.retries -= 1
        reconsider(state, task)
    else:
        task.state = WAITING
        fail(state, task, message.error)


def _returned(state: State, worker: Worker, message: TaskReturned) -> None:
    task = _current(state, worker, message.key, message.run)
    if task is None:
        return
    thief = state.stealing.get(task)
    unassign(state, task)
    call_followers_back(state, task)
    ready = all(dependency.state == MEMORY for dependency in task.dependencies)
    suspected = task.trouble is not None and task.trouble.deaths
    if thief is not None and ready and not suspected and may_receive(state, thief, task):
        assign(state, task, thief)
        state.changed[thief] = None
    else:
        reconsider(state, task)


def _missing(state: State, worker: Worker, message: TaskMissingData) -> None:
    task = _current(state, worker, message.key, message.run)
    if task is None:
        return
    unassign(state, task)
    call_followers_back(state, task)
    trouble = trouble_of(task)
    trouble.missed += 1
    gone = accuse(state, message.missing, worker)
    if trouble.missed >= MISSED_LIMIT:
        task.state = WAITING
        fail(state, task, unreachable_error(task.key, message.missing, trouble.missed))
    else:
        reconsider(state, task)
    recover(state, gone)


# -- data -------------------------------------------------------------------------------------------------------


def _added(state: State, worker: Worker, message: DataAdded) -> None:
    for key in message.data:
        task = state.tasks.get(key)
        if task is not None and task.place is worker:
            # An older copy where it is being computed anew, and they cannot be told apart: begin again.
            stop(state, task)
            drop(state, worker, key)
            reconsider(state, task)
        elif task is None or task.state != MEMORY:
            drop(state, worker, key)
        elif task in worker.data:
            copy_arrived(state, task, worker)
        elif _is_expected(state, task, worker):
            add_copy(task, worker)
            copy_arrived(state, task, worker)
        else:
            drop(state, worker, key)


def _is_expected(state: State, task: Task, worker: Worker) -> bool:
    """Whether the worker has a reason to hold a copy; else it may be of an older task of the same key."""
    if worker in state.fetching.get(task, ()):
        return True
    dependents = task.dependents
    if not dependents:
        return False
    return any(processing.inputs in dependents for processing in worker.processing)


def _dropped(state: State, worker: Worker, message: DataDropped) -> None:
    gone = []
    for key in message.keys:
        task = state.tasks.get(key)
        if task is not None and task in worker.data:
            drop(state, worker, key)  # in case that the message is an old one
            if remove_copy(state, task, worker):
                gone.append(task)
    recover(state, gone)


def _fetch_failed(state: State, worker: Worker, message: FetchFailed) -> None:
    for key in message.missing:
        if (task := state.tasks.get(key)) is not None:
            copy_failed(state, task, worker)
    recover(state, accuse(state, message.missing, worker))


# -- the worker itself ------------------------------------------------------------------------------------------


def _heartbeat(state: State, worker: Worker, message: Heartbeat) -> None:
    worker.executing = message.executing
    worker.memory = message.memory
    worker.paused = message.paused
    state.changed[worker] = None
    if not message.paused and (len(worker.processing) < worker.nthreads or worker in state.rich):
        state.restless.append(worker)


def _goodbye(state: State, worker: Worker, _message: Goodbye) -> None:
    worker.leaving = True
    state.changed[worker] = None


_HANDLERS: dict[type, Callable[[State, Worker, Any], None]] = {
    BlockFinished: _block_finished,
    TaskFinished: _finished,
    TaskErred: _erred,
    TaskReturned: _returned,
    TaskMissingData: _missing,
    DataAdded: _added,
    DataDropped: _dropped,
    FetchFailed: _fetch_failed,
    Heartbeat: _heartbeat,
    Goodbye: _goodbye,
}

ALLOWED: frozenset[type] = frozenset(_HANDLERS)
"""What a worker may send."""
