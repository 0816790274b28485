"""Striking tasks off, and with them what only they named: links, functions, demands."""

from __future__ import annotations

from distributed.scheduler.state import Demand, Function, State, Task
from distributed.scheduler.states import FORGOTTEN

__all__ = ["forget", "forget_function"]


def forget(state: State, task: Task) -> None:
    """Strike a task off that nothing depends on and nobody needs."""
    del state.tasks[task.key]
    task.state = FORGOTTEN
    inputs = task.inputs
    if inputs is not None:
        if len(inputs.users) > 1:
            inputs.remove(task)
        else:  # nobody depends on these together any more
            inputs.users = ()
            for dependency in inputs.tasks:
                dependents = dependency.dependents
                assert dependents is not None
                del dependents[inputs]
                if not (dependents or dependency.needs or dependency.wanters):
                    state.unneeded.append(dependency)
    function = task.function
    if function is not None:
        function.references -= 1
        if not function.references:
            forget_function(state, function)
    if task.demand is not state.anything:
        _leave_demand(state, task.demand)
    # Old records may stay in lists that are only cleaned now and then: they hold on to nothing.
    task.inputs, task.dependents, task.args, task.function = None, None, b"", None


def forget_function(state: State, function: Function) -> None:
    """No task names the function, and no client that sent it is there."""
    del state.functions[function.id]
    for worker in state.workers.values():
        worker.functions.discard(function)


def _leave_demand(state: State, demand: Demand) -> None:
    demand.tasks -= 1
    if not demand.tasks:
        key = (demand.workers, demand.loose, tuple(sorted(demand.resources.items())))
        del state.demands[key]
        state.pending.pop(demand, None)
        state.suspected.pop(demand, None)
        state.touched.pop(demand, None)
