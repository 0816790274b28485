"""What clients say about keys that exist: want, release, cancel, retry, scattered; and clients that leave."""

from __future__ import annotations

from collections.abc import Iterable

from distributed.messages import (
    CancelKeys,
    DataScattered,
    KeyCancelled,
    KeyLost,
    KeyPending,
    ReleaseKeys,
    RetryKeys,
    WantKeys,
)
from distributed.scheduler.forgetting import forget, forget_function
from distributed.scheduler.graph import refuse, want
from distributed.scheduler.state import Client, State, Task, Worker
from distributed.scheduler.states import ERRED, MEMORY, RELEASED, is_active
from distributed.scheduler.transitions import (
    activate,
    add_copy,
    drop,
    leave_holders,
    notify,
    outbox,
    report,
)

__all__ = [
    "cancel",
    "cancel_everything",
    "depart",
    "refuse_data",
    "release",
    "restore",
    "retry",
    "take_data",
    "want_keys",
]

_UNKNOWN = "this scheduler does not know the key (any more)"


def want_keys(state: State, client: Client, message: WantKeys) -> None:
    """The client holds futures of these keys from now on."""
    for key in message.keys:
        task = state.tasks.get(key)
        if task is None:
            refuse(state, client, key, _UNKNOWN)
        else:
            want(state, client, task)


def release(state: State, client: Client, message: ReleaseKeys) -> None:
    """The client holds no future of these keys any more."""
    tasks, only = state.tasks, client.only
    for key in message.keys:
        task = tasks.get(key)
        if task is None:
            continue
        if task.wanters is only and task.state == MEMORY and task.inputs is None and not task.dependents:
            # Most results end so: they go at once, as ``settle`` would let them go later.
            client.wants -= 1
            task.wanters = ()
            leave_holders(state, task)
            forget(state, task)
        elif client in task.wanters:
            _unwant(state, client, task)


def _unwant(state: State, client: Client, task: Task) -> None:
    client.wants -= 1
    if len(task.wanters) > 1:
        task.wanters = tuple(other for other in task.wanters if other is not client)
        return
    task.wanters = ()
    if not task.needs:
        state.unneeded.append(task)


def depart(state: State, client: Client) -> None:
    """The client is gone: it wants nothing, and its functions live only as long as tasks name them."""
    if client.wants:
        for task in list(state.tasks.values()):
            if client in task.wanters:
                _unwant(state, client, task)
    for function in client.functions:
        function.references -= 1
        if not function.references:
            forget_function(state, function)


def cancel(state: State, client: Client, message: CancelKeys) -> None:
    """Cancel tasks and all that depend on them; without ``force`` only as far as this client is concerned."""
    roots = []
    for key in message.keys:
        task = state.tasks.get(key)
        if task is None:
            refuse(state, client, key, _UNKNOWN)
        else:
            roots.append(task)
    for task in _with_dependents(roots):
        clients = task.wanters if message.force else client.only
        for wanter in clients:
            if wanter in task.wanters:
                _unwant(state, wanter, task)
                outbox(state, wanter).append(KeyCancelled(task.key, "cancelled"))


def _with_dependents(roots: Iterable[Task]) -> Iterable[Task]:
    found: dict[Task, None] = {}
    stack = list(roots)
    while stack:
        task = stack.pop()
        if task not in found:
            found[task] = None
            stack.extend(task.users())
    return found


def cancel_everything(state: State, reason: str) -> int:
    """Take every want away, so that everything is released; return how many tasks there were."""
    count = len(state.tasks)
    for task in list(state.tasks.values()):
        notify(state, task, KeyCancelled(task.key, reason))
        for client in task.wanters:
            _unwant(state, client, task)
    state.departed.clear()
    return count


def retry(state: State, client: Client, message: RetryKeys) -> None:
    """Run failed tasks again, and the failed tasks that they depend on."""
    stack: list[Task] = []
    for key in message.keys:
        task = state.tasks.get(key)
        if task is None:
            refuse(state, client, key, _UNKNOWN)
        elif task.state == ERRED and task.function is not None:
            stack.append(task)
        elif (answer := report(task)) is not None:
            outbox(state, client).append(answer)
    again: list[Task] = []
    while stack:
        task = stack.pop()
        if task.state == ERRED and task.function is not None:
            task.state = RELEASED
            task.begin_anew()
            again.append(task)
            stack.extend(task.dependencies)
    for task in again:
        if task.wanters or task.needs:
            activate(state, task)
    for task in again:
        if is_active(task.state):
            notify(state, task, KeyPending(task.key))
        elif not (task.wanters or task.needs):
            state.unneeded.append(task)


# -- scattered data ---------------------------------------------------------------------------------------------


def take_data(state: State, client: Client, message: DataScattered) -> None:
    """The client has put data on workers and wants it; copies of a key that is a task's are not taken."""
    for key, (nbytes, addresses) in message.data.items():
        holders = [state.workers[address] for address in addresses if address in state.workers]
        task = state.tasks.get(key)
        if task is not None and task.function is not None:
            for worker in holders:
                if worker not in task.holders:
                    drop(state, worker, key)
            want(state, client, task)
            continue
        if not holders and (task is None or task.state != MEMORY):
            outbox(state, client).append(KeyLost(key, addresses))
            continue
        if task is None:
            task = state.tasks[key] = Task(key, None, b"", state.anything, 0)
        if task.state != MEMORY:
            restore(state, task, holders[0], max(0, nbytes))
        for worker in holders:
            add_copy(task, worker)
        want(state, client, task)


def restore(state: State, task: Task, worker: Worker, nbytes: int) -> None:
    """Scattered data that was released or lost is there (again), at ``worker``."""
    task.state = MEMORY
    task.trouble = None
    task.nbytes = nbytes
    add_copy(task, worker)
    if (message := report(task)) is not None:
        notify(state, task, message)


def refuse_data(state: State, message: DataScattered) -> None:
    """Data was scattered for a client that is gone: nobody wants it."""
    for key, (_, addresses) in message.data.items():
        task = state.tasks.get(key)
        for address in addresses:
            worker = state.workers.get(address)
            if worker is not None and (task is None or worker not in task.holders):
                drop(state, worker, key)
