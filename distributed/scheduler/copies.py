"""Copies: who holds what, and moving data between workers on request.

A mission is one control event at work.  It asks workers to fetch copies, survives workers and keys that vanish
meanwhile, plans again if that left something to do, and is always answered in the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heapreplace, nsmallest
from typing import Any, TypeAlias

from distributed.messages import FetchData
from distributed.scheduler.actions import Answer
from distributed.scheduler.events import RebalanceWanted, ReplicateWanted, RetireWanted
from distributed.scheduler.placement import addresses_of
from distributed.scheduler.state import Mission, State, Task, Worker
from distributed.scheduler.states import MEMORY
from distributed.scheduler.transitions import drop, flush_drops, outbox, remove_copy, trouble_of

__all__ = [
    "accuse",
    "begin",
    "copy_arrived",
    "copy_failed",
    "plan_moves",
    "target_gone",
    "tend",
]

MOST_ROUNDS = 3
"""So often a mission plans anew what did not come."""
ACCUSATIONS = 3
"""So often data that cannot be computed again must be missed before its last holder is disbelieved."""
EVEN_ENOUGH = 1.05
"""A worker with so many times the mean number of bytes is not relieved any further."""

Move: TypeAlias = tuple[Task, Worker, "Worker | None"]
"""A task's data, where a copy of it should go, and who gives its copy up for that."""


def accuse(state: State, missing: dict[str, list[str]], accuser: Worker | None = None) -> list[Task]:
    """These workers did not have what we thought: believe it, and have them drop what they may still have.

    Returns the tasks that have no copy left, for ``recover``.
    """
    gone = []
    for key, addresses in missing.items():
        task = state.tasks.get(key)
        for address in addresses if task is not None else ():
            worker = state.workers.get(address)
            if worker is None or task is None or task not in worker.data:
                continue
            if task.function is None and len(task.holders) == 1 and worker is not accuser:
                # Perhaps only the way to it is broken, and what we give up here is gone for good.
                trouble = trouble_of(task)
                trouble.accused += 1
                if trouble.accused < ACCUSATIONS:
                    continue
            drop(state, worker, key)
            if remove_copy(state, task, worker):
                gone.append(task)
    return gone


# -- missions ---------------------------------------------------------------------------------------------------


def begin(state: State, event: ReplicateWanted | RebalanceWanted | RetireWanted) -> None:
    """Start on a control event; it is answered by an ``Answer`` with its token, perhaps at once."""
    mission = state.missions[event.token] = Mission(event)
    if isinstance(event, RetireWanted):
        for worker in _named(state, event.workers):
            worker.leaving = True
            state.changed[worker] = None
    _advance(state, mission)


def tend(state: State) -> None:
    """Let missions that wait for nothing any more go on; call it at the end of each event."""
    for task in state.orphans:
        for target in list(state.fetching.get(task, ())):
            _strike(state, task, target)
    state.orphans.clear()
    for mission in list(state.missions.values()):
        _advance(state, mission)


def _advance(state: State, mission: Mission) -> None:
    most = 1 if isinstance(mission.event, RebalanceWanted) else MOST_ROUNDS
    while not mission.pending:
        moves = _plan(state, mission) if mission.rounds < most else []
        if not moves:
            del state.missions[mission.event.token]
            state.answers.append(Answer(mission.event.token, _result(state, mission)))
            return
        mission.rounds += 1
        _fetch(state, mission, moves)


def _result(state: State, mission: Mission) -> Any:
    if not isinstance(mission.event, ReplicateWanted):
        return mission.moved
    tasks = [(key, state.tasks.get(key)) for key in mission.event.keys]
    return {key: [w.address for w in task.holders] if task else [] for key, task in tasks}


def _fetch(state: State, mission: Mission, moves: Iterable[Move]) -> None:
    requests: dict[Worker, dict[str, list[str]]] = {}
    for task, target, source in moves:
        mission.pending[task, target] = source
        targets = state.fetching.setdefault(task, {})
        if target in targets:
            targets[target].append(mission)
            continue
        targets[target] = [mission]
        state.runs += 1
        requests.setdefault(target, {})[task.key] = addresses_of(task.holders, state.runs)
    for target, who_has in requests.items():
        flush_drops(state, target)
        outbox(state, target).append(FetchData(who_has))


def _strike(state: State, task: Task, target: Worker) -> list[tuple[Mission, Worker | None]]:
    """The copy is there or will not come: strike it off; return who waited for it."""
    targets = state.fetching.get(task, {})
    missions = targets.pop(target, [])
    if not targets:
        state.fetching.pop(task, None)
    return [(mission, mission.pending.pop((task, target))) for mission in missions]


def copy_arrived(state: State, task: Task, worker: Worker) -> None:
    """The worker holds a copy; perhaps it was asked to."""
    if task.trouble is not None:
        task.trouble.accused = 0
    for mission, source in _strike(state, task, worker):
        mission.moved += 1
        # While a task runs somewhere that needs it, a copy too many does no harm, one too few might.
        if source is not None and task in source.data and not task.needs:
            remove_copy(state, task, source)
            drop(state, source, task.key)


def copy_failed(state: State, task: Task, worker: Worker) -> None:
    """The worker could not fetch a copy."""
    _strike(state, task, worker)


def target_gone(state: State, worker: Worker) -> None:
    """The worker left: nothing arrives there any more."""
    for task, targets in list(state.fetching.items()):
        if worker in targets:
            _strike(state, task, worker)


# -- plans ------------------------------------------------------------------------------------------------------


def _plan(state: State, mission: Mission) -> list[Move]:
    event = mission.event
    if isinstance(event, ReplicateWanted):
        return _plan_replicas(state, event)
    if isinstance(event, RetireWanted):
        return _plan_retreat(state, event)
    tasks = None
    if event.keys is not None:
        tasks = {task for key in event.keys if (task := state.tasks.get(key)) is not None}
    return plan_moves(_staying(_named(state, event.workers)), tasks)


def _named(state: State, addresses: list[str] | None) -> list[Worker]:
    if addresses is None:
        return list(state.workers.values())
    workers = [state.workers.get(address) for address in dict.fromkeys(addresses)]
    return [worker for worker in workers if worker is not None]


def _staying(workers: Iterable[Worker]) -> list[Worker]:
    return [worker for worker in workers if not worker.leaving]


def _plan_replicas(state: State, event: ReplicateWanted) -> list[Move]:
    targets = _staying(_named(state, event.workers))
    wanted = len(targets) if event.n is None else min(max(event.n, 1), len(targets))
    loads = {worker: worker.nbytes for worker in targets}
    moves: list[Move] = []
    for key in dict.fromkeys(event.keys):
        task = state.tasks.get(key)
        if task is None or task.state != MEMORY:
            continue
        lacking = [worker for worker in targets if task not in worker.data]
        short = wanted - (len(targets) - len(lacking))
        if short <= 0:
            continue
        for worker in nsmallest(short, lacking, key=loads.__getitem__):
            loads[worker] += task.nbytes
            moves.append((task, worker, None))
    return moves


def _plan_retreat(state: State, event: RetireWanted) -> list[Move]:
    targets = _staying(state.workers.values())
    if not targets:
        return []
    heap = [(worker.nbytes, i, worker) for i, worker in enumerate(targets)]
    heapify(heap)
    moves: dict[Task, Move] = {}
    for worker in _named(state, event.workers):
        for task in worker.data:
            if task not in moves and all(holder.leaving for holder in task.holders):
                nbytes, i, target = heap[0]
                heapreplace(heap, (nbytes + task.nbytes, i, target))
                moves[task] = (task, target, None)
    return list(moves.values())


def plan_moves(workers: list[Worker], tasks: set[Task] | None) -> list[Move]:
    """Return moves that even out the bytes held by ``workers``; only of ``tasks`` if not None."""
    if not workers:
        return []
    mean = sum(worker.nbytes for worker in workers) / len(workers)
    heap = [(worker.nbytes, i, worker) for i, worker in enumerate(workers)]
    heapify(heap)
    moves: dict[Task, Move] = {}
    for source in sorted(workers, key=lambda worker: worker.nbytes, reverse=True):
        load = source.nbytes
        movable = [task for task in source.data if task not in moves and (tasks is None or task in tasks)]
        for task in sorted(movable, key=lambda task: task.nbytes, reverse=True):
            if load <= mean * EVEN_ENOUGH or not task.nbytes:
                break
            least, i, target = heap[0]
            if target is not source and least + task.nbytes < load and task not in target.data:
                heapreplace(heap, (least + task.nbytes, i, target))
                moves[task] = (task, target, source)
                load -= task.nbytes
    return list(moves.values())
