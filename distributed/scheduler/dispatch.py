"""Handing tasks to workers at the end of an event: saturate them, do not flood them.

A worker gets one task more than it has threads, and further ones while its backlog is below about 20 ms per thread;
the rest stays in the queues here, where it can still go anywhere.  Suspects come first (``suspects.py``), then
tasks that only some workers can run, then all others; within each by rank.  A worker that runs dry while others have
a backlog gets some of it (``stealing.py``).
"""

from __future__ import annotations

from itertools import islice
from math import isqrt

from distributed.scheduler.ahead import send_followers
from distributed.scheduler.assign import assign, assign_all, book, update_room
from distributed.scheduler.placement import choose, has_room
from distributed.scheduler.queues import ReadyQueue
from distributed.scheduler.state import Demand, State, Task, Worker
from distributed.scheduler.states import PROCESSING
from distributed.scheduler.stealing import rob
from distributed.scheduler.suspects import place_suspects

__all__ = ["dispatch"]

_ALL = 1 << 40
"""As many as there is room for."""
_HAND_OVER_S = 4e-5
"""What it costs the scheduler to tell a worker something and to hear its answer."""
_BUNDLE_S = 1e-2
"""Tasks that go together to a worker though others have nothing to do take no longer: durations may mislead."""
_THIEVES = 8
"""So many idle workers are helped because of one that has been rich for a while."""


def dispatch(state: State) -> None:
    """Give workers what they have room for, then see whether idle ones should get what others wait with."""
    changed = list(state.changed)
    for worker in changed:
        update_room(state, worker)
    state.changed.clear()  # from here on: those to be looked at once more
    if state.suspected or state.reserved:
        place_suspects(state)
        changed = list(dict.fromkeys([*changed, *state.changed]))
    if state.pending:
        _serve_pending(state, changed, before_others=True)
    queue = state.anything.queue
    if queue.live and state.open:
        _spread_to_threads(state)
        while queue.live and state.open:
            _spread_evenly(state)
    if state.pending:
        _serve_pending(state, changed, before_others=False)
    if state.rich and state.idle:
        _relieve(state, changed)
    if state.leaders:
        send_followers(state)
    for worker in state.changed:
        update_room(state, worker)
    state.changed.clear()
    state.touched.clear()
    state.restless.clear()


def _relieve(state: State, changed: list[Worker]) -> None:
    # These have been so for a while, whatever the known durations say.
    for worker in state.restless:
        if worker in state.idle:
            rob(state, worker, insist=True)
        elif worker in state.rich:
            for thief in list(islice(reversed(state.idle), _THIEVES)):
                rob(state, thief, insist=True)
    for worker in dict.fromkeys([*changed, *state.changed]):
        if worker in state.idle:
            rob(state, worker)
        elif worker in state.rich and state.idle:
            rob(state, next(reversed(state.idle)))


# -- tasks that any worker can run ------------------------------------------------------------------------------


def _spread_to_threads(state: State) -> None:
    """First fill the free threads, each worker getting its share."""
    queue, idle = state.anything.queue, state.idle
    if not idle:
        return
    share, bundle = -(-queue.live // len(idle)), _bundle(queue)
    fed: list[Worker] = []
    while queue.live and idle:
        worker, _ = idle.popitem()
        fed.append(worker)
        _feed(state, worker, bundle if bundle > share else min(share, worker.nthreads - len(worker.processing)))
    _settle_room(state, fed)


def _spread_evenly(state: State) -> None:
    """Then let tasks queue up at the workers, as many at each."""
    queue, takers = state.anything.queue, state.open
    share = -(-queue.live // len(takers))
    fed: list[Worker] = []
    while queue.live and takers:
        worker, _ = takers.popitem()
        fed.append(worker)
        _feed(state, worker, share)
    _settle_room(state, fed)


def _bundle(queue: ReadyQueue[Task]) -> int:
    """How many of the tasks in the queue to give to a worker at least, though others have nothing to do.

    In bundles of n, N tasks that take d take n d at the workers, side by side, and at the scheduler what handing over
    costs it N / n times, one after the other: that is done first if both are equal.
    """
    task = queue.head()
    if task is None or task.function is None:
        return 1
    duration_s = task.function.duration_s
    return min(isqrt(int(queue.live * _HAND_OVER_S / duration_s)), int(_BUNDLE_S / duration_s))


def _settle_room(state: State, fed: list[Worker]) -> None:
    for worker in fed:
        update_room(state, worker)
        state.changed.pop(worker, None)


def _feed(state: State, worker: Worker, count: int) -> None:
    """Take ``count`` tasks from the queue for a worker while it has room; some may be better off elsewhere."""
    queue, processing, most = state.anything.queue, worker.processing, state.prefetch_tasks
    nthreads, limit_s = worker.nthreads, worker.limit_s
    state.changed[worker] = None
    block: list[Task] = []
    others: dict[Worker, list[Task]] = {}
    while count > 0 and queue.live:
        held = len(processing)
        if held > nthreads and (worker.busy_s >= limit_s or held >= most):
            break  # it has no room: placement.has_room, without the call
        count -= 1
        task = queue.pop()
        if task.inputs is not None:
            chosen = choose(state, task, worker)
            if len(task.inputs.users) > 1:
                others.setdefault(chosen, []).append(book(state, task, chosen))
            else:
                assign(state, task, chosen)
        else:
            # On the books at once, because they tell if there is room; on its way with the others.
            assert task.function is not None
            task.state = PROCESSING  # there may be an old entry of it in the queue
            processing[task] = duration_s = task.function.duration_s
            worker.busy_s += duration_s
            block.append(task)
    if block:
        assign_all(state, block, worker)
    for chosen, tasks in others.items():
        assign_all(state, tasks, chosen)


# -- tasks that only some workers can run -----------------------------------------------------------------------


def _serve_pending(state: State, changed: list[Worker], before_others: bool) -> None:
    """Place tasks of special demands where something changed.

    ``before_others``: only those that rank before the tasks that any worker can run.
    """
    others = state.anything.queue.head() if before_others else None
    below = others.rank if others is not None else None
    for demand in list(state.touched):
        if demand.queue.live:
            _place(state, demand, below)
        else:
            state.pending.pop(demand, None)
    for worker in changed:
        if worker in state.open:
            _serve(state, worker, below, worker.nthreads - len(worker.processing))
            _serve(state, worker, below, _ALL)


def _place(state: State, demand: Demand, below: int | None) -> None:
    """New tasks of a demand: spread them over the workers that take them, first over free threads."""
    for pool in (demand.preferred, demand.eligible) if demand.loose else (demand.eligible,):
        if len(pool) > len(state.open):
            takers = [worker for worker in state.open if worker in pool]
        else:
            takers = [worker for worker in pool if worker in state.open]
        for worker in takers:
            _serve(state, worker, below, min(demand.queue.live, worker.nthreads - len(worker.processing)))
        share = -(-demand.queue.live // max(1, len(takers)))
        for count in (share, _ALL):
            for worker in takers:
                _serve(state, worker, below, count if demand.queue.live else 0)


def _serve(state: State, worker: Worker, below: int | None, count: int) -> None:
    """Give a worker up to ``count`` tasks of special demands while it has room."""
    while count > 0 and has_room(state, worker):
        count -= 1
        best = _best_demand(state, worker, below)
        if best is None:
            break
        task = best.queue.pop()
        assign(state, task, choose(state, task, worker) if task.inputs is not None else worker)
    update_room(state, worker)


def _best_demand(state: State, worker: Worker, below: int | None) -> Demand | None:
    best, least = None, below
    for demand in list(state.pending):
        head = demand.queue.head()
        if head is None:
            del state.pending[demand]
        elif (least is None or head.rank < least) and demand.fits(worker):
            best, least = demand, head.rank
    return best
