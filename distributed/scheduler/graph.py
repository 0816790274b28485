"""New tasks: from specifications to linked tasks on their way.

What cannot be linked, because a dependency is unknown or the tasks form a cycle, is refused with a reason.
"""

from __future__ import annotations

import math

from distributed.messages import KeyCancelled, SubmitBlock, SubmitTasks, TaskOptions, TaskSpec
from distributed.payloads import Payload
from distributed.scheduler.state import RANK_BITS, Client, Demand, Dependents, Function, Inputs, State, Task, Trouble
from distributed.scheduler.states import MEMORY, QUEUED, RELEASED
from distributed.scheduler.transitions import activate, outbox, report

__all__ = ["refuse", "submit", "submit_block", "want"]

_ORDER = (1 << RANK_BITS) - 1
_LARGEST_PRIORITY = 1_000_000


def refuse(state: State, client: Client, key: str, reason: str) -> None:
    """Tell the client that it will not get this key."""
    outbox(state, client).append(KeyCancelled(key, reason))


def want(state: State, client: Client, task: Task) -> None:
    """The client wants a task that is known; it hears at once if there is something to tell."""
    if client not in task.wanters:
        task.wanters = (*task.wanters, client) if task.wanters else client.only
        client.wants += 1
    if task.state == RELEASED:
        activate(state, task)
    elif (message := report(task)) is not None:
        outbox(state, client).append(message)


def submit(state: State, client: Client, message: SubmitTasks) -> None:
    """Take new tasks; a key that is known already is only wanted."""
    _learn(state, client, message.functions)
    tasks, functions, anything = state.tasks, state.functions, state.anything
    fresh: list[Task] = []
    late: dict[str, TaskSpec] = {}
    for spec in message.tasks:
        key = spec.key
        known = tasks.get(key)
        if known is not None:
            want(state, client, known)
        elif spec.dependencies or spec.options is not None:
            _queue(state, client, fresh)  # what came before stays before
            if all(map(tasks.__contains__, spec.dependencies)):
                _create(state, client, spec)
            else:
                late.setdefault(key, spec)
        elif (function := functions.get(spec.function)) is not None:
            task = Task(key, function, spec.args, anything, _next_place(state), QUEUED)
            task.wanters = client.only
            function.references += 1
            tasks[key] = task
            fresh.append(task)
        else:
            refuse(state, client, key, _unknown_function(spec.function))
    _queue(state, client, fresh)
    if late:
        _create_late(state, client, late)


def submit_block(state: State, client: Client, message: SubmitBlock) -> None:
    """Take new tasks of one function that have the same dependencies, mostly none; a key that is known already is
    only wanted.
    """
    _learn(state, client, message.functions)
    function = state.functions.get(message.function)
    if function is None:
        for key in message.keys:
            refuse(state, client, key, _unknown_function(message.function))
        return
    if message.dependencies:
        if all(map(state.tasks.__contains__, message.dependencies)):
            _create_alike(state, client, message, function)
        else:
            columns = zip(message.keys, message.args, strict=True)
            specs = [TaskSpec(key, function.id, args, message.dependencies) for key, args in columns]
            submit(state, client, SubmitTasks(specs))
        return
    # The hottest loop of submission: what the tasks share is looked up once, what can be counted is counted after it.
    tasks, anything, only, rank = state.tasks, state.anything, client.only, _next_place(state)
    fresh: list[Task] = []
    add = fresh.append
    for key, args in zip(message.keys, message.args, strict=True):
        task = Task(key, function, args, anything, rank, QUEUED, wanters=only)
        known = tasks.setdefault(key, task)
        if known is task:
            add(task)
        else:
            want(state, client, known)
    function.references += len(fresh)
    _queue(state, client, fresh)


def _queue(state: State, client: Client, fresh: list[Task]) -> None:
    if fresh:
        client.wants += len(fresh)
        state.anything.queue.extend(fresh)
        fresh.clear()


def _learn(state: State, client: Client, functions: dict[str, Payload]) -> None:
    for function_id, payload in functions.items():
        function = state.functions.get(function_id)
        if function is None:
            function = state.functions[function_id] = Function(function_id, payload)
        if function not in client.functions:
            client.functions.add(function)
            function.references += 1


def _unknown_function(function: str) -> str:
    return f"its function {function} was never sent; submit the task again from a new client"


def _create(state: State, client: Client, spec: TaskSpec) -> None:
    """Add a task whose dependencies are all known."""
    function = state.functions.get(spec.function)
    if function is None:
        refuse(state, client, spec.key, _unknown_function(spec.function))
        return
    try:
        demand = _demand(state, spec.options)
    except ValueError as error:
        refuse(state, client, spec.key, str(error))
        return
    options, inputs, last = spec.options, None, 0
    if spec.dependencies:
        inputs, last = _inputs(tuple(map(state.tasks.__getitem__, dict.fromkeys(spec.dependencies))))
    task = Task(spec.key, function, spec.args, demand, _rank(state, last, options), inputs=inputs)
    if options is not None and options.retries:
        task.trouble = Trouble(options.retries)
    if demand is not state.anything:
        demand.tasks += 1
    _enter(state, client, task)


def _create_alike(state: State, client: Client, message: SubmitBlock, function: Function) -> None:
    """Add tasks with the same dependencies, which are all known."""
    tasks = state.tasks
    dependencies = tuple(map(tasks.__getitem__, dict.fromkeys(message.dependencies)))
    inputs: Inputs | None = None
    rank = 0
    for key, args in zip(message.keys, message.args, strict=True):
        if (known := tasks.get(key)) is not None:
            want(state, client, known)
            continue
        if inputs is None:
            inputs, last = _inputs(dependencies)
            rank = _rank(state, last, None)
        _enter(state, client, Task(key, function, args, state.anything, rank, inputs=inputs))


def _enter(state: State, client: Client, task: Task) -> None:
    """Put a new task, which the client wants, into the books, and pursue it."""
    assert task.function is not None
    task.function.references += 1
    task.wanters = client.only
    client.wants += 1
    state.tasks[task.key] = task
    if (inputs := task.inputs) is not None:
        if inputs.users:
            inputs.add(task)
        else:
            inputs.users = (task,)
    activate(state, task)


def _inputs(dependencies: tuple[Task, ...]) -> tuple[Inputs, int]:
    """Return what tasks that depend on just these share, and the place in line of the last of these that is
    unfinished, 0 if there is none.
    """
    last = 0
    # Such tasks come in a row: it is enough to look at who came to depend on the last of them last.
    if (others := dependencies[-1].dependents) and (inputs := next(reversed(others))).tasks == dependencies:
        for dependency in dependencies:
            if dependency.state < MEMORY and (place := dependency.rank & _ORDER) > last:
                last = place
        return inputs, last
    inputs = Inputs(dependencies)
    for dependency in dependencies:
        if (others := dependency.dependents) is None:
            dependency.dependents = Dependents(inputs)
        else:
            others[inputs] = None
        if dependency.state < MEMORY and (place := dependency.rank & _ORDER) > last:
            last = place
    return inputs, last


def _next_place(state: State) -> int:
    """Return the next place in line, an even number; the tasks of a block have one together."""
    state.serial = place = state.serial + 2
    return place


def _rank(state: State, last: int, options: TaskOptions | None) -> int:
    """Where the task stands in line.

    It stands right before the last of its unfinished dependencies, ``last``, 0 if there is none, so that what is begun
    is finished, and released, before more is begun: depth first.  These places are the odd numbers.
    """
    order = (last - 1) | 1 if last else _next_place(state)
    if options is None or not options.priority:
        return order
    priority = max(-_LARGEST_PRIORITY, min(_LARGEST_PRIORITY, options.priority))
    return order - (priority << RANK_BITS)


def _demand(state: State, options: TaskOptions | None) -> Demand:
    """Return what the options ask of a worker.  Raises ValueError for amounts that make no sense."""
    if options is None or not (options.workers or options.resources):
        return state.anything
    resources = options.resources or {}
    for name, amount in resources.items():
        if not (math.isfinite(amount) and amount > 0):
            raise ValueError(f"it asks for {amount:g} of {name}; ask for a positive amount")
    workers = frozenset(options.workers or ())
    loose = bool(workers) and options.allow_other_workers
    key = (workers, loose, tuple(sorted(resources.items())))
    demand = state.demands.get(key)
    if demand is None:
        demand = state.demands[key] = Demand(workers, loose, dict(resources))
        for worker in state.workers.values():
            demand.consider(worker)
    return demand


def _create_late(state: State, client: Client, late: dict[str, TaskSpec]) -> None:
    """Add tasks that came before their dependencies, in the right order; refuse those that have none."""
    counts: dict[str, int] = {}
    followers: dict[str, list[str]] = {}
    ready: list[str] = []
    for key, spec in late.items():
        unknown = {dependency for dependency in spec.dependencies if dependency not in state.tasks}
        counts[key] = len(unknown)
        for dependency in unknown:
            followers.setdefault(dependency, []).append(key)
        if not unknown:
            ready.append(key)
    ready.reverse()
    while ready:
        key = ready.pop()
        _create(state, client, late.pop(key))
        if key in state.tasks:
            for follower in followers.get(key, ()):
                counts[follower] -= 1
                if not counts[follower]:
                    ready.append(follower)
    for key, reason in _reasons(state, late).items():
        refuse(state, client, key, reason)


def _reasons(state: State, late: dict[str, TaskSpec]) -> dict[str, str]:
    """Say of each task why it cannot be linked: follow unknown dependencies to a dead end or a circle."""
    reasons: dict[str, str] = {}
    for start in late:
        path: dict[str, None] = {}
        key = start
        while key in late and key not in reasons and key not in path:
            path[key] = None
            key = next(dep for dep in late[key].dependencies if dep not in state.tasks)
        if key in reasons:
            reason = reasons[key]
        elif key in path:
            circle = list(path)[list(path).index(key) :]
            shown = [*circle[:5], "..."] if len(circle) > 5 else circle
            reason = f"it depends on a cycle of tasks: {' -> '.join([*shown, key])}"
        else:
            reason = f"it depends on {key}, which this scheduler does not know"
        reasons.update(dict.fromkeys(path, reason))
    return reasons
