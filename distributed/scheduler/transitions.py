"""How tasks change state, whatever the cause.

- A task is *needed* while a client wants it (``wanters``) or one of its dependents is active (``needs``).  Needed
  tasks are pursued: they are active, in memory or erred.  A task that is needed no more is noted in
  ``state.unneeded``, and :func:`settle` releases it.
- A released task is forgotten when nothing depends on it; until then it is lineage: if a result that was made
  from it is lost, it runs again.
- No function here calls itself: graphs are deeper than Python's stack.
"""

from __future__ import annotations

from collections.abc import Iterable

from distributed.messages import (
    CancelTask,
    DropData,
    ErrorInfo,
    KeyErred,
    KeyInMemory,
    KeyLost,
    KeyPending,
    Message,
)
from distributed.scheduler.failures import lost_error
from distributed.scheduler.forgetting import forget
from distributed.scheduler.state import Demand, Inputs, Peer, State, Task, Trouble, Worker
from distributed.scheduler.states import (
    AHEAD,
    ERRED,
    FORGOTTEN,
    MEMORY,
    PROCESSING,
    QUEUED,
    RELEASED,
    SUSPECT,
    WAITING,
    is_active,
)

__all__ = [
    "activate",
    "add_copy",
    "call_back",
    "call_followers_back",
    "complete",
    "drop",
    "enqueue",
    "fail",
    "flush_drops",
    "forget_steal",
    "leave_holders",
    "notify",
    "outbox",
    "reconsider",
    "recover",
    "relax",
    "remove_copy",
    "report",
    "settle",
    "spread",
    "stop",
    "trouble_of",
    "unassign",
]


def outbox(state: State, peer: Peer) -> list[Message]:
    """Return the list that collects what this event sends to ``peer``."""
    box = peer.outbox
    if not box:
        state.speaking.append(peer)
    return box


def notify(state: State, task: Task, message: Message) -> None:
    """Tell all clients that want the task."""
    for client in task.wanters:
        outbox(state, client).append(message)


def report(task: Task) -> Message | None:
    """Return what a client that begins to want the task should hear at once, if anything."""
    if task.state == MEMORY:
        holders = task.holders
        where = holders[0].addresses if len(holders) == 1 else [w.address for w in holders]
        return KeyInMemory(task.key, task.type_name, task.nbytes, where)
    trouble = task.trouble
    if task.state == ERRED and trouble is not None and trouble.error is not None:
        if trouble.lost is not None:
            return KeyLost(task.key, list(trouble.lost))
        return KeyErred(task.key, trouble.error)
    return None


def trouble_of(task: Task) -> Trouble:
    """Return the task's record of troubles, a new one if it had none."""
    trouble = task.trouble
    if trouble is None:
        trouble = task.trouble = Trouble()
    return trouble


# -- towards a result -------------------------------------------------------------------------------------------


def enqueue(state: State, task: Task) -> None:
    """All dependencies are in memory: the task waits for a worker, a suspect for one of its own."""
    demand = task.demand
    if task.trouble is not None and task.trouble.deaths:
        task.state = SUSPECT
        demand.suspects.push(task)
        state.suspected[demand] = None
        return
    task.state = QUEUED
    demand.queue.push(task)
    if demand is not state.anything:
        _mark(state, demand)


def _mark(state: State, demand: Demand) -> None:
    state.pending[demand] = None
    state.touched[demand] = None


def activate(state: State, task: Task) -> None:
    """Pursue a released task, and what it needs that is not there; it fails if that cannot be had."""
    stack = [task]
    broken: dict[Task, None] = {}
    while stack:
        task = stack.pop()
        if task.state != RELEASED:
            continue
        if task.function is None:
            broken[task] = None
            continue
        task.state = WAITING
        inputs = task.inputs
        if inputs is None:
            enqueue(state, task)
            continue
        inputs.active += 1
        if inputs.active == 1 and (only := _need(inputs, stack, broken)) is not None:
            state.leaders.append(only)
        if not inputs.missing:
            enqueue(state, task)
    for task in broken:
        if task.state == ERRED:
            spread(state, task)
        else:
            _fail_lost(state, task)


def _need(inputs: Inputs, stack: list[Task], broken: dict[Task, None]) -> Task | None:
    """The first of the users is active: count what is missing, and note what is to be pursued, or cannot be had.

    For the next ones that is done: what is needed is pursued, and where it cannot be had none of them is active.
    Returns the only one that is missing if it is at a worker, where the user may follow it.
    """
    missing = 0
    last: Task | None = None
    for dependency in inputs.tasks:
        assert dependency.dependents is not None
        dependency.dependents.active += 1
        if (kind := dependency.state) == MEMORY:
            continue
        missing += 1
        last = dependency
        if kind == RELEASED:
            stack.append(dependency)
        elif kind == ERRED:
            broken[dependency] = None
    inputs.missing = missing
    if missing == 1 and last is not None and (last.state == PROCESSING or last.state == AHEAD):
        return last
    return None


def reconsider(state: State, task: Task) -> None:
    """A task came back from its worker: queue it again, or wait for dependencies that went away meanwhile."""
    task.state = WAITING
    if task.inputs is None or not task.inputs.missing:
        enqueue(state, task)


def complete(state: State, task: Task, worker: Worker, nbytes: int, odd_type: str) -> None:
    """The task, not assigned any more, has its result at ``worker``; to tell its wanters is for the caller."""
    if nbytes < 0:
        nbytes = 0
    task.state = MEMORY
    if task.trouble is not None or odd_type:
        task.begin_anew(odd_type)
    task.nbytes = nbytes
    # Holdings.take, without the call
    holdings = worker.data
    task.holders = holdings.alone
    holdings.entries.append(task)
    holdings.number += 1
    worker.nbytes += nbytes
    if task.dependents:
        for inputs in task.dependents:
            if not inputs.active:
                continue
            inputs.missing -= 1
            if inputs.missing:
                continue
            for user in inputs.users:
                if user.state == WAITING:
                    enqueue(state, user)
                elif user.state == AHEAD:
                    _start(state, user, worker)


def _start(state: State, task: Task, worker: Worker) -> None:
    """What a task that was sent ahead waited for is there: it counts as work from now on."""
    assert task.function is not None
    del worker.ahead[task]
    duration_s = task.function.duration_s
    worker.processing[task] = duration_s
    worker.busy_s += duration_s
    task.state = PROCESSING
    if task.dependents:
        state.leaders.append(task)


# -- out of the active states -----------------------------------------------------------------------------------


def unassign(state: State, task: Task) -> None:
    """Take a task that was handed out off its worker's books; its new state is for the caller to set."""
    worker = task.place
    assert worker is not None
    worker.coming.clear()  # what it was to fetch for this task it may not fetch now
    if task in worker.ahead:
        del worker.ahead[task]
    else:
        worker.busy_s -= worker.processing.pop(task)
    task.place = None
    task.run = 0
    for name, amount in task.demand.resources.items():
        worker.free[name] += amount
    if not worker.processing:
        worker.busy_s = 0.0
        worker.free.update(worker.resources)
    if worker.alone is task:
        worker.alone = None
    if state.stealing:
        forget_steal(state, task, worker)
    state.changed[worker] = None


def forget_steal(state: State, task: Task, victim: Worker) -> Worker | None:
    """The task is not asked back any more; return for whom it was."""
    if task not in state.stealing:
        return None
    thief = state.stealing.pop(task)
    victim.asked -= 1
    if thief is not None:
        thief.robbing -= 1
    return thief


def stop(state: State, task: Task) -> None:
    """Take an active task out of its queue or off its worker, which is told; it is released."""
    if task.state == PROCESSING or task.state == AHEAD:
        call_back(state, task)
    former, task.state = task.state, RELEASED
    if former == QUEUED:
        task.demand.queue.discard()
    elif former == SUSPECT:
        task.demand.suspects.discard()


def call_back(state: State, task: Task) -> None:
    """Tell the worker to drop the task, and call back what follows it there; it waits for whatever comes next."""
    assert task.place is not None
    outbox(state, task.place).append(CancelTask(task.key, task.run))
    unassign(state, task)
    task.state = WAITING
    call_followers_back(state, task)


def call_followers_back(state: State, task: Task) -> None:
    """The task will not end at the worker that had it: what was sent ahead to start there after it waits here again.

    Each follower is followed by one at most, but such a line can be long.
    """
    leader: Task | None = task
    while leader is not None:
        followers = [user for user in leader.users() if user.state == AHEAD]
        leader = followers[0] if followers else None
        if leader is not None:
            assert leader.place is not None
            outbox(state, leader.place).append(CancelTask(leader.key, leader.run))
            unassign(state, leader)
            leader.state = WAITING


def relax(state: State, task: Task) -> None:
    """An active task ended, so it needs its dependencies no more."""
    inputs = task.inputs
    if inputs is None:
        return
    inputs.active -= 1
    if inputs.active:
        return
    for dependency in inputs.tasks:
        dependents = dependency.dependents
        assert dependents is not None
        dependents.active -= 1
        if not (dependents.active or dependency.wanters):
            state.unneeded.append(dependency)


def fail(state: State, task: Task, error: ErrorInfo, blame: str = "") -> None:
    """The task failed, and so do all active tasks that depend on it."""
    _err(state, task, error, blame or task.key)
    spread(state, task)


def _fail_lost(state: State, task: Task) -> None:
    trouble = trouble_of(task)
    if trouble.lost is None:
        trouble.lost = ()
    fail(state, task, lost_error(task.key, trouble.lost))


def spread(state: State, task: Task) -> None:
    """Let the active tasks that depend on a failed one fail for the same reason."""
    stack = [task]
    while stack:
        task = stack.pop()
        trouble = task.trouble
        assert trouble is not None
        assert trouble.error is not None
        for user in task.users():
            if is_active(user.state):
                _err(state, user, trouble.error, trouble.blame)
                stack.append(user)


def _err(state: State, task: Task, error: ErrorInfo, blame: str) -> None:
    if is_active(task.state):
        stop(state, task)
        relax(state, task)
    task.state = ERRED
    trouble = trouble_of(task)
    trouble.error = error
    trouble.blame = blame
    message = report(task)
    assert message is not None
    notify(state, task, message)
    if not task.wanters:
        state.unneeded.append(task)


# -- data that goes away ----------------------------------------------------------------------------------------


def add_copy(task: Task, worker: Worker) -> None:
    """The worker holds the result too."""
    if task not in worker.data:
        worker.nbytes += task.nbytes
        worker.coming.pop(task, None)
        if task.holders:
            task.holders[0].data.share(task, worker)
        else:
            worker.data.take(task)


def remove_copy(state: State, task: Task, worker: Worker) -> bool:
    """The worker does not hold the result any more.

    Returns whether it was the last copy: then the task is released, and the caller owes it a ``recover``.
    """
    worker.nbytes -= task.nbytes
    if len(task.holders) > 1:
        worker.data.leave(task)
        return False
    worker.data.give(task)
    if task.function is None:
        trouble_of(task).lost = (worker.address,)
    _leave_memory(state, task)
    return True


def _leave_memory(state: State, task: Task) -> None:
    task.state = RELEASED
    if task in state.fetching:
        state.orphans.append(task)
    for inputs in task.dependents or ():
        if not inputs.active:
            continue
        inputs.missing += 1
        if inputs.missing > 2:
            continue
        for user in inputs.users:
            if user.state == AHEAD:
                call_back(state, user)
            elif user.state in (QUEUED, SUSPECT):
                stop(state, user)
                user.state = WAITING
            # One that is processing may have what it needs; else its worker will say so.


def recover(state: State, gone: Iterable[Task]) -> None:
    """Compute again those of the lost results that are needed; data that cannot be computed is lost."""
    for task in gone:
        if task.state != RELEASED:
            continue  # pulled in by one that came before
        if not (task.wanters or task.needs):
            state.unneeded.append(task)
        elif task.function is None:
            _fail_lost(state, task)
        else:
            activate(state, task)
    for task in gone:
        if is_active(task.state) and task.wanters:
            notify(state, task, KeyPending(task.key))


def drop(state: State, worker: Worker, key: str) -> None:
    """Tell the worker that nobody wants its copy; all keys of one event go in one message."""
    if not worker.drops:
        state.dropping.append(worker)
    worker.drops.append(key)


def flush_drops(state: State, worker: Worker) -> None:
    """Send what ``drop`` collected, before anything that could bring these keys back to the worker."""
    if worker.drops:
        outbox(state, worker).append(DropData(worker.drops))
        worker.drops = []


def settle(state: State) -> None:
    """Release what nobody needs any more, and forget what nothing depends on."""
    unneeded = state.unneeded
    while unneeded:
        task = unneeded.pop()
        if task.wanters or task.needs or task.state == FORGOTTEN:
            continue
        if task.state == MEMORY:
            leave_holders(state, task)
        elif is_active(task.state):
            stop(state, task)
            relax(state, task)
        if not task.dependents:
            forget(state, task)


def leave_holders(state: State, task: Task) -> None:
    """Nobody needs the result: its holders may drop it."""
    holders = task.holders
    for worker in holders:
        if len(holders) > 1:
            del worker.data.shared[task]
        else:
            worker.data.number -= 1
        worker.nbytes -= task.nbytes
        # drop(), without the call
        if not worker.drops:
            state.dropping.append(worker)
        worker.drops.append(task.key)
    task.holders = ()
    task.state = RELEASED
    if state.fetching and task in state.fetching:
        state.orphans.append(task)
