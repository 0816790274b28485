"""What must hold between any two events, checked both ways.  For tests: it looks at everything."""

from __future__ import annotations

from collections import Counter

from distributed.scheduler.placement import has_room, is_closed
from distributed.scheduler.state import Demand, Inputs, Peer, State, Task, Worker
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

__all__ = ["validate"]


def validate(state: State) -> None:
    """Raise AssertionError if the state contradicts itself."""
    _check_nothing_left_over(state)
    for key, task in state.tasks.items():
        assert task.key == key
        _check_task(state, task)
        _check_links(state, task)
    for worker in state.workers.values():
        _check_worker(state, worker)
    held = sum(len(worker.data) for worker in state.workers.values())
    assert held == sum(len(task.holders) for task in state.tasks.values()), f"{held} results that somebody holds"
    _check_rooms(state)
    _check_queues(state)
    _check_functions(state)
    _check_clients(state)
    _check_suspects(state)
    _check_steals(state)
    _check_missions(state)


def _check_nothing_left_over(state: State) -> None:
    lists = ("changed", "touched", "restless", "unneeded", "speaking", "dropping", "answers", "orphans", "leaders")
    for name in lists:
        assert not getattr(state, name), f"{name} is not empty after the event"
    peers: list[Peer] = [*state.workers.values(), *state.clients.values()]
    assert not any(peer.outbox for peer in peers), "a message was not sent"
    assert not any(worker.drops for worker in state.workers.values()), "a drop was not sent"


def _check_task(state: State, task: Task) -> None:
    kind = task.state
    assert kind != FORGOTTEN, f"{task} is among the known"
    needed = bool(task.wanters or task.needs)
    assert needed or task.dependents, f"{task} is of no use to anybody"
    assert (kind == MEMORY) == bool(task.holders), f"{task} at {task.holders}"
    assert (kind in (PROCESSING, AHEAD)) == (task.place is not None), f"{task} at {task.place}"
    assert (kind in (PROCESSING, AHEAD)) == (task.run != 0), f"{task} has run {task.run}"
    if is_active(kind) or kind == MEMORY:
        assert needed, f"{task} is kept for nobody"
    elif kind == RELEASED:
        assert not needed, f"{task} is needed and not pursued"
    if kind == ERRED:
        assert task.trouble is not None
        assert task.trouble.error is not None, f"{task} failed without an error"
        assert not task.needs, f"{task} is waited for in vain"
    if task.function is None:
        assert not is_active(kind), f"{task} is data and cannot be computed"
    suspected = task.trouble is not None and bool(task.trouble.deaths)
    assert kind != SUSPECT or suspected, f"{task} is suspected of nothing"
    assert kind != QUEUED or not suspected, f"{task} is a suspect among others"
    assert kind != MEMORY or not suspected, f"{task} finished and is still suspected"
    for holder in task.holders:
        assert state.workers.get(holder.address) is holder, f"{task} at {holder}, which is gone"
        assert task in holder.data, f"{holder} does not know that it has {task}"
    assert len(set(task.holders)) == len(task.holders), f"{task} has a holder twice"


def _check_links(state: State, task: Task) -> None:
    absent = _check_inputs(state, task, task.inputs) if task.inputs is not None else 0
    if task.state == WAITING:
        assert absent, f"{task} waits for nothing"
    elif task.state == AHEAD:
        assert absent == 1, f"{task} was sent ahead and waits for {absent}"
        (leader,) = [dependency for dependency in task.dependencies if dependency.state != MEMORY]
        assert leader.place is task.place, f"{task} waits where {leader} is not"
        assert not leader.is_troubled, f"{task} follows the suspect {leader}"
        assert not task.is_troubled, f"the suspect {task} was sent ahead"
        followers = [other for other in leader.users() if other.state == AHEAD]
        assert followers == [task], f"{leader} is followed by {followers}"
    if task.state in (QUEUED, SUSPECT):
        assert not absent, f"{task} is ready, but {absent} dependencies are missing"
    needs = 0
    for inputs in task.dependents or ():
        assert task in inputs.tasks, f"{task} is none of {inputs.tasks}"
        assert inputs.users, f"{inputs.tasks} are needed by nobody"
        needs += inputs.active > 0
    for user in task.users():
        assert state.tasks.get(user.key) is user, f"{task} is needed by a stranger"
        assert task in user.dependencies, f"{user} does not know {task}"
    assert task.needs == needs, f"{task} counts {task.needs} needs, really {needs}"
    for client in task.wanters:
        assert state.clients.get(client.id) is client, f"{task} is wanted by a client that left"


def _check_inputs(state: State, task: Task, inputs: Inputs) -> int:
    """Check what the task shares with all who depend on the same; return how many of its dependencies are absent."""
    assert inputs.tasks, f"{task} has inputs and depends on nothing"
    assert task in inputs.users, f"its inputs do not know {task}"
    assert inputs.active == sum(is_active(user.state) for user in inputs.users), f"the active users of {inputs.tasks}"
    absent = 0
    for dependency in inputs.tasks:
        assert state.tasks.get(dependency.key) is dependency, f"{task} depends on a stranger"
        assert dependency.dependents is not None
        assert inputs in dependency.dependents, f"{dependency} does not know {task}"
        absent += dependency.state != MEMORY
    assert not inputs.active or inputs.missing == absent, f"{task} waits for {inputs.missing}, really {absent}"
    return absent


def _check_worker(state: State, worker: Worker) -> None:
    assert state.workers[worker.address] is worker
    listed = list(worker.data)
    assert len(listed) == len(worker.data), f"{worker} counts {len(worker.data)} results, really {len(listed)}"
    for task in listed:
        assert worker in task.holders, f"{task} does not know that {worker} holds it"
        assert state.tasks.get(task.key) is task, f"{worker} holds {task}, which is forgotten"
    assert worker.nbytes == sum(task.nbytes for task in listed), f"bytes of {worker}"
    used: Counter[str] = Counter()
    for task in worker.processing:
        assert task.place is worker, f"{task} is not at {worker}"
        assert task.state == PROCESSING
        assert state.tasks.get(task.key) is task, f"{worker} runs {task}, which is forgotten"
        assert task.function in worker.functions, f"{worker} was not sent the function of {task}"
        assert worker in task.demand.eligible, f"{worker} may not run {task}"
        used.update(task.demand.resources)
    assert worker.processing or not worker.coming, f"{worker} fetches for nobody"
    for task in worker.ahead:
        assert task.place is worker, f"{task} is not at {worker}"
        assert task.state == AHEAD
        assert state.tasks.get(task.key) is task, f"{worker} has {task}, which is forgotten"
        assert task.function in worker.functions, f"{worker} was not sent the function of {task}"
        assert worker in task.demand.eligible, f"{worker} may not run {task}"
        assert not task.demand.resources, f"{task} was sent ahead and asks for resources"
    assert abs(worker.busy_s - sum(worker.processing.values())) < 1e-6, f"busy_s of {worker}"
    for name, amount in worker.resources.items():
        assert abs(worker.free[name] + used[name] - amount) < 1e-6, f"{name} of {worker}"
        assert worker.free[name] > -1e-6, f"{worker} has too little {name}"
    for function in worker.functions:
        assert state.functions.get(function.id) is function, f"{worker} keeps {function.id}"


def _check_rooms(state: State) -> None:
    workers = set(state.workers.values())
    for group in (state.open, state.idle, state.vacant, state.rich, state.reserved):
        assert group.keys() <= workers, "a worker that left is on a list"
    for worker in workers:
        closed = is_closed(worker)
        held = len(worker.processing)
        is_open = not closed and worker not in state.reserved and has_room(state, worker)
        assert (worker in state.open) == is_open, f"{worker} open: {not is_open}"
        assert (worker in state.idle) == (is_open and held < worker.nthreads), f"{worker} idle"
        assert (worker in state.vacant) == (not closed and not held), f"{worker} vacant"
        running = worker.executing if worker.paused else worker.nthreads
        assert (worker in state.rich) == (held - worker.asked > running), f"{worker} rich"


def _check_queues(state: State) -> None:
    queued = Counter(task.demand for task in state.tasks.values() if task.state == QUEUED)
    suspects = Counter(task.demand for task in state.tasks.values() if task.state == SUSPECT)
    for demand in (state.anything, *state.demands.values()):
        assert demand.queue.live == queued[demand], "the length of a queue"
        assert demand.suspects.live == suspects[demand], "the number of suspects"
        entries = set(demand.queue.entries())
        assert sum(task.state == QUEUED for task in entries) == queued[demand]
        assert demand.eligible.keys() <= set(state.workers.values())
        for worker in state.workers.values():
            copy = Demand(demand.workers, demand.loose, demand.resources)
            copy.consider(worker)
            assert (worker in copy.eligible) == (worker in demand.eligible), f"{worker} eligible"
        if queued[demand]:
            assert demand is state.anything or demand in state.pending
            takers = [worker for worker in state.open if demand.fits(worker)]
            assert not takers, f"{queued[demand]} tasks wait although {takers} have room"
    counted = Counter(task.demand for task in state.tasks.values())
    for demand in state.demands.values():
        assert demand.tasks == counted[demand] > 0, "the number of tasks of a demand"


def _check_functions(state: State) -> None:
    references = Counter(task.function for task in state.tasks.values() if task.function)
    for client in state.clients.values():
        references.update(client.functions)
    assert set(references) == set(state.functions.values()), "functions kept and functions used"
    for function, number in references.items():
        assert function is not None
        assert function.references == number, f"references of {function.id}"


def _check_clients(state: State) -> None:
    wants = Counter(client for task in state.tasks.values() for client in task.wanters)
    for client in state.clients.values():
        assert client.wants == wants[client], f"{client} counts {client.wants}: {wants[client]}"


def _check_suspects(state: State) -> None:
    for worker in state.workers.values():
        if worker.alone is not None:
            assert list(worker.processing) == [worker.alone], f"{worker.alone} is not alone"
            assert worker in state.reserved, f"{worker} is not reserved for {worker.alone}"
            assert not worker.ahead, f"{worker.alone} is not alone"
        for task in worker.processing:
            if task.trouble is not None and task.trouble.deaths:
                assert worker.alone is task, f"the suspect {task} has company"
    for worker in state.reserved:
        if worker.alone is None:
            assert not is_closed(worker), f"{worker} is being emptied and takes nothing"
            assert state.suspected, f"{worker} is being emptied for nobody"
    for demand in (state.anything, *state.demands.values()):
        if demand.suspects.live:
            assert demand in state.suspected
            able = [worker for worker in demand.eligible if not is_closed(worker)]
            assert not able or state.reserved, "suspects wait and nothing is done for them"


def _check_steals(state: State) -> None:
    asked = Counter(task.place for task in state.stealing)
    robbing = Counter(thief for thief in state.stealing.values() if thief is not None)
    assert None not in asked, "a task is asked back from nobody"
    for worker in state.workers.values():
        assert worker.asked == asked[worker], f"{worker} was asked for {worker.asked} tasks"
        assert worker.robbing == robbing[worker], f"{worker} waits for {worker.robbing} tasks"
    assert set(robbing) <= set(state.workers.values()), "a thief that left"


def _check_missions(state: State) -> None:
    waiting = set()
    for task, targets in state.fetching.items():
        assert targets
        assert task.state == MEMORY, f"{task} is being copied"
        for target, missions in targets.items():
            assert state.workers.get(target.address) is target, f"{task} goes to {target}"
            assert missions
            for mission in missions:
                waiting.add((id(mission), task, target))
    for token, mission in state.missions.items():
        assert mission.event.token == token
        assert mission.pending, "a mission waits for nothing"
        for task, target in mission.pending:
            assert (id(mission), task, target) in waiting, f"nobody brings {task} to {target}"
            waiting.discard((id(mission), task, target))
    assert not waiting, "copies come for missions that are over"
