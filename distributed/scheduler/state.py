"""What the scheduler knows: tasks, workers, clients, functions, and how they hang together.

Records only; the rules are in ``transitions.py`` and its neighbours, and ``invariants.py`` checks all of this
both ways.  A cluster holds millions of tasks, so :class:`Task` is lean: the garbage collector does not look at
it, what few tasks have is in :class:`Trouble`, and holders and wanters are tuples which tasks share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec

from distributed.messages import ErrorInfo, Message
from distributed.payloads import Payload
from distributed.scheduler.actions import Answer
from distributed.scheduler.events import (
    RebalanceWanted,
    ReplicateWanted,
    RetireWanted,
    WorkerJoined,
)
from distributed.scheduler.queues import ReadyQueue
from distributed.scheduler.states import QUEUED, RELEASED, STATE_NAMES, SUSPECT

__all__ = [
    "RANK_BITS",
    "UNKNOWN_S",
    "Client",
    "Death",
    "Demand",
    "Dependents",
    "Function",
    "Inputs",
    "Mission",
    "Peer",
    "State",
    "Task",
    "Trouble",
    "Worker",
]

UNKNOWN_S = 0.5
"""What a task is thought to take before any of its function has ended."""

RANK_BITS = 40
"""A rank is minus the user's priority, then so many bits for the order of submission."""

_SLACK = 64
"""So many old entries are left in a list at least."""


class Function(msgspec.Struct, eq=False):
    """A function of the user's.  ``references``: tasks that name it, and clients that sent it."""

    id: str
    payload: Payload
    references: int = 0
    duration_s: float = UNKNOWN_S
    samples: int = 0
    type_name: str = ""


class Death(msgspec.Struct, eq=False):
    """An unexpected end of a worker, as in ``WorkerLeft.reason``."""

    address: str
    reason: str


class Trouble(msgspec.Struct, eq=False):
    """What only few tasks have.

    ``allowed``: retries that it was submitted with; ``odd_type``: the type of its result, if its function's first one
    had another.  The others tell what went wrong: ``deaths``: of workers that had the task; ``retries``: left after
    exceptions, None if none was used; ``error``: why it failed; ``blame``: the key that failed first; ``lost``: who
    held the data before it was lost; ``missed``: how often in a row its dependencies could not be fetched; ``accused``:
    how often its last holder was said not to have it.
    """

    allowed: int = 0
    odd_type: str = ""
    deaths: tuple[Death, ...] = ()
    retries: int | None = None
    error: ErrorInfo | None = None
    blame: str = ""
    lost: tuple[str, ...] | None = None
    missed: int = 0
    accused: int = 0

    @property
    def is_past(self) -> bool:
        """Whether nothing that went wrong counts now."""
        return not (self.deaths or self.error or self.lost or self.missed or self.accused or self.retries is not None)


class Task(msgspec.Struct, eq=False, gc=False):
    """One task, or scattered data: then ``function`` is None and it cannot be computed again.

    ``run``: number of the current run, 0 if none; ``place``: the worker that has it; ``inputs``: its dependencies,
    None if it has none; ``dependents``: the inputs that it is one of, None if it never was.

    There are millions of these, and each field is 8 bytes: what few tasks have is in ``trouble``, what all tasks of a
    function have is in that.
    """

    key: str
    function: Function | None
    args: Payload
    demand: Demand
    rank: int
    state: int = RELEASED
    run: int = 0
    place: Worker | None = None
    holders: tuple[Worker, ...] = ()
    nbytes: int = 0
    inputs: Inputs | None = None
    dependents: Dependents | None = None
    wanters: tuple[Client, ...] = ()
    trouble: Trouble | None = None

    def __repr__(self) -> str:
        return f"<Task {self.key}: {STATE_NAMES[self.state]}>"

    @property
    def dependencies(self) -> tuple[Task, ...]:
        """The tasks whose results it needs."""
        return self.inputs.tasks if self.inputs is not None else ()

    @property
    def needs(self) -> int:
        """How many of its dependents are active."""
        return self.dependents.active if self.dependents is not None else 0

    @property
    def odd_type(self) -> str:
        """The type of its result, if that of its function is another."""
        return self.trouble.odd_type if self.trouble is not None else ""

    @property
    def type_name(self) -> str:
        """The type of its result as far as it is known."""
        return self.odd_type or (self.function.type_name if self.function is not None else "")

    @property
    def is_troubled(self) -> bool:
        """Whether something went wrong with it, and counts."""
        return self.trouble is not None and not self.trouble.is_past

    def begin_anew(self, odd_type: str = "") -> None:
        """Forget what went wrong; ``odd_type`` is known of its result."""
        trouble = self.trouble
        allowed = trouble.allowed if trouble is not None else 0
        self.trouble = Trouble(allowed, odd_type) if allowed or odd_type else None

    def users(self) -> Iterator[Task]:
        """Iterate over the tasks that need its result."""
        for inputs in self.dependents or ():
            yield from inputs.users


class Inputs(msgspec.Struct, eq=False, gc=False):
    """What a task depends on: ``tasks``.  Those that depend on the very same, ``users``, share one.

    So an edge of an all-to-all costs no more than its end: what happens to a dependency is counted once for all who
    need it.  ``active``: how many of the users are; while there is one, ``missing`` counts the tasks not in memory.
    Most have one user, for whom a tuple does.
    """

    tasks: tuple[Task, ...]
    users: tuple[Task, ...] | dict[Task, None] = ()
    active: int = 0
    missing: int = 0

    def add(self, user: Task) -> None:
        """A task after the first one depends on these."""
        if isinstance(self.users, dict):
            self.users[user] = None
        else:
            self.users = dict.fromkeys((*self.users, user))

    def remove(self, user: Task) -> None:
        """One of several tasks that depended on these is forgotten."""
        assert isinstance(self.users, dict)
        del self.users[user]


class Dependents(dict[Inputs, None]):
    """The inputs that a task is one of; ``active``: how many of these have an active user."""

    __slots__ = ("active",)

    def __init__(self, first: Inputs) -> None:
        super().__init__({first: None})
        self.active = 0


class Demand:
    """What a class of tasks asks of its worker; all tasks that ask the same share one.

    ``workers``: addresses, hosts or names it may run on, only a preference if ``loose``.  ``eligible``: the
    workers that could ever run these tasks; ``preferred``: those of them that are named.
    """

    __slots__ = (
        "eligible",
        "loose",
        "preferred",
        "queue",
        "resources",
        "suspects",
        "tasks",
        "workers",
    )

    def __init__(
        self, workers: frozenset[str] = frozenset(), loose: bool = False, resources: dict[str, float] | None = None
    ) -> None:
        self.workers = workers
        self.loose = loose
        self.resources = resources or {}
        self.tasks = 0
        self.queue: ReadyQueue[Task] = ReadyQueue(QUEUED)
        self.suspects: ReadyQueue[Task] = ReadyQueue(SUSPECT)
        self.eligible: dict[Worker, None] = {}
        self.preferred: dict[Worker, None] = {}

    def consider(self, worker: Worker) -> None:
        """A worker joined: can it run these tasks?"""
        if any(worker.resources.get(name, 0) < amount for name, amount in self.resources.items()):
            return
        named = not self.workers.isdisjoint(worker.names)
        if named:
            self.preferred[worker] = None
        if named or self.loose or not self.workers:
            self.eligible[worker] = None

    def dismiss(self, worker: Worker) -> None:
        """A worker left."""
        self.eligible.pop(worker, None)
        self.preferred.pop(worker, None)

    def fits(self, worker: Worker) -> bool:
        """Whether the worker can take one more of these tasks as far as its free resources go."""
        if worker not in self.eligible:
            return False
        free = worker.free
        return all(free[name] + 1e-9 >= amount for name, amount in self.resources.items())


class Holdings:
    """The tasks whose results one worker holds; ``alone`` is that worker in a tuple, as in ``Task.holders``.

    Most results have one holder, and then the task knows it: here is only an entry in a list, which costs less than one
    in a table, and of a million a tenth.  ``entries``: these, ``number`` of which count; those whose task is held no
    more, or not by this worker alone, stay until :meth:`tidy`.  ``shared``: what others hold, too.
    """

    __slots__ = ("alone", "entries", "number", "shared")

    def __init__(self, alone: tuple[Worker, ...]) -> None:
        self.alone = alone
        self.entries: list[Task] = []
        self.number = 0
        self.shared: dict[Task, None] = {}

    def __len__(self) -> int:
        return self.number + len(self.shared)

    def __contains__(self, task: Task) -> bool:
        return task.holders is self.alone or task in self.shared

    def lacking(self, tasks: Iterable[Task]) -> list[Task]:
        """Return those of the tasks whose results the worker does not hold, in order."""
        alone, shared = self.alone, self.shared
        return [task for task in tasks if task.holders is not alone and task not in shared]

    def __iter__(self) -> Iterator[Task]:
        return iter([*self._mine(), *self.shared])

    def _mine(self) -> list[Task]:
        alone = self.alone
        # A task may have two entries: it left, and was computed here again.
        return list(dict.fromkeys([task for task in self.entries if task.holders is alone]))

    def take(self, task: Task) -> None:
        """The worker has the result, and nobody else."""
        task.holders = self.alone
        self.entries.append(task)
        self.number += 1

    def give(self, task: Task) -> None:
        """Nobody has the result, which this worker alone had."""
        task.holders = ()
        self.number -= 1

    def share(self, task: Task, worker: Worker) -> None:
        """Another worker has the result, which this one has, too."""
        if task.holders is self.alone:
            self.number -= 1
            self.shared[task] = None
        worker.data.shared[task] = None
        task.holders = (*task.holders, worker)

    def leave(self, task: Task) -> None:
        """The worker, one of several, has the result no more."""
        (only,) = self.alone
        others = tuple(holder for holder in task.holders if holder is not only)
        del self.shared[task]
        if len(others) > 1:
            task.holders = others
            return
        del others[0].data.shared[task]
        others[0].data.take(task)

    def tidy(self) -> None:
        """Forget old entries if there are more than others."""
        if len(self.entries) > 2 * self.number + _SLACK:
            self.entries = self._mine()


class Worker:
    """One registered worker.

    ``names``: what restrictions may call it; ``data``: results held there; ``processing``: tasks it was handed,
    each with the seconds it is thought to take; ``busy_s``: their sum; ``ahead``: tasks that follow one of these, which
    count as work only when they can start (``ahead.py``); ``coming``: what it was told to fetch for a task and has
    not yet, with the holders that it was told of; ``free``: resources not in use;
    ``alone``: the suspect that has the worker for itself; ``asked``: how many of its tasks are being stolen;
    ``only``, ``addresses``: itself alone, shared by many tasks and messages.
    """

    __slots__ = (
        "address",
        "addresses",
        "ahead",
        "alone",
        "asked",
        "busy_s",
        "coming",
        "data",
        "drops",
        "executing",
        "free",
        "functions",
        "host",
        "leaving",
        "limit_s",
        "memory",
        "memory_limit",
        "name",
        "names",
        "nanny",
        "nbytes",
        "nthreads",
        "only",
        "outbox",
        "paused",
        "processing",
        "resources",
        "robbing",
    )

    def __init__(self, joined: WorkerJoined, limit_s: float) -> None:
        self.address = joined.address
        self.name = joined.name or joined.address
        self.host = joined.host
        self.nthreads = max(1, joined.nthreads)
        self.resources = dict(joined.resources)
        self.free = dict(joined.resources)
        self.memory_limit = joined.memory_limit
        self.nanny = joined.nanny
        ip = self.address.rpartition(":")[0]
        self.names = frozenset({self.address, self.name, self.host, ip, ip.strip("[]")} - {""})
        self.limit_s = limit_s * self.nthreads
        self.nbytes = 0
        self.processing: dict[Task, float] = {}
        self.busy_s = 0.0
        self.ahead: dict[Task, None] = {}
        self.coming: dict[Task, tuple[Worker, ...]] = {}
        self.functions: set[Function] = set()
        self.paused = False
        self.executing = 0
        self.memory = 0
        self.leaving = False
        self.alone: Task | None = None
        self.asked = 0
        self.robbing = 0
        self.only = (self,)
        self.data = Holdings(self.only)
        self.addresses = [self.address]
        self.drops: list[str] = []
        self.outbox: list[Message] = []

    def __repr__(self) -> str:
        return f"<Worker {self.address}>"


class Client:
    """One client stream.  ``wants`` counts the keys it wants; ``only``: itself alone, shared by many tasks."""

    __slots__ = ("functions", "id", "only", "outbox", "wants")

    def __init__(self, client: str) -> None:
        self.id = client
        self.wants = 0
        self.functions: set[Function] = set()
        self.only = (self,)
        self.outbox: list[Message] = []

    def __repr__(self) -> str:
        return f"<Client {self.id}>"


Peer: TypeAlias = Worker | Client


class Mission:
    """Copies of data on their way, for one control event: replicate, rebalance or retire.

    ``pending``: (task, target) -> the holder that gives its copy up when the new one is there, or None.
    """

    __slots__ = ("event", "moved", "pending", "rounds")

    def __init__(self, event: ReplicateWanted | RebalanceWanted | RetireWanted) -> None:
        self.event = event
        self.moved = 0
        self.rounds = 0
        self.pending: dict[tuple[Task, Worker], Worker | None] = {}


DemandKey: TypeAlias = tuple[frozenset[str], bool, tuple[tuple[str, float], ...]]


class State:
    """All of it.  What is filled and emptied within one event is in the last block of the constructor."""

    def __init__(self, allowed_failures: int = 3, prefetch_s: float = 0.02, prefetch_tasks: int = 2000) -> None:
        self.allowed_failures = allowed_failures
        self.prefetch_s = prefetch_s
        self.prefetch_tasks = prefetch_tasks
        self.tasks: dict[str, Task] = {}
        self.workers: dict[str, Worker] = {}
        self.clients: dict[str, Client] = {}
        self.functions: dict[str, Function] = {}
        self.serial = 0
        self.runs = 0

        self.anything = Demand()
        self.demands: dict[DemandKey, Demand] = {}
        """All others."""
        self.pending: dict[Demand, None] = {}
        """Of those, at least the ones with tasks in the queue."""
        self.suspected: dict[Demand, None] = {}
        """At least the demands with suspects that wait."""

        self.open: dict[Worker, None] = {}
        """Workers that take more tasks."""
        self.idle: dict[Worker, None] = {}
        """Of those, the ones with a free thread."""
        self.vacant: dict[Worker, None] = {}
        """Of those, the ones without any task, also if reserved."""
        self.rich: dict[Worker, None] = {}
        """Workers with tasks that they cannot have started."""
        self.reserved: dict[Worker, None] = {}
        """Workers that run a suspect alone, or are being emptied for one."""
        self.stealing: dict[Task, Worker | None] = {}
        """Tasks asked back -> for whom (None: to empty a worker)."""
        self.fetching: dict[Task, dict[Worker, list[Mission]]] = {}
        """Copies on their way: task -> target -> for whom."""
        self.missions: dict[int, Mission] = {}
        self.orphans: list[Task] = []
        """Tasks with copies on their way that left memory meanwhile."""
        self.departed: dict[str, dict[Task, None]] = {}
        """What a lost worker held, in case that it comes back with it."""

        self.changed: dict[Worker, None] = {}
        self.touched: dict[Demand, None] = {}
        self.restless: list[Worker] = []
        self.leaders: list[Task] = []
        """Tasks at workers that others could follow there."""
        self.unneeded: list[Task] = []
        self.speaking: list[Peer] = []
        self.dropping: list[Worker] = []
        self.answers: list[Answer] = []
