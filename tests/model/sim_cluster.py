"""A whole simulated cluster around the scheduler's machine: random lives with a rude network and much bad luck.

After each event the invariants are checked.  In the end the network calms down, whoever is needed comes back, and every
wanted key must have come to a right end.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from distributed.messages import (
    BlockFinished,
    DataAdded,
    DataDropped,
    Goodbye,
    Heartbeat,
    KeyErred,
    KeyInMemory,
    TaskErred,
    TaskFinished,
    TaskMissingData,
    TaskReturned,
)
from distributed.scheduler import events
from distributed.scheduler.actions import Answer, ToWorker
from distributed.scheduler.invariants import validate
from distributed.scheduler.machine import SchedulerMachine
from distributed.scheduler.states import MEMORY
from tests.blocks import apart
from tests.model.books import Books
from tests.model.rude import RudeNetwork
from tests.model.sim_client import Definitions, SimClient
from tests.model.sim_worker import PoisonedError, SimWorker, value_of

__all__ = ["SimCluster"]

SCHEDULER = "scheduler"
WORKERS = {
    # address: name, host, threads, resources
    "10.0.0.1:1": ("w0", "host-a", 1, {"GPU": 2.0, "mem": 4.0}),
    "10.0.0.1:2": ("w1", "host-a", 2, {}),
    "10.0.0.2:1": ("w2", "host-b", 1, {"GPU": 1.0}),
    "10.0.0.3:1": ("w3", "host-c", 3, {}),
}
LATE = (TaskFinished, BlockFinished, TaskErred, TaskReturned, TaskMissingData, DataAdded, DataDropped, Heartbeat)
FAILURES = 3


class SimCluster:
    """One life, from one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.machine = SchedulerMachine(
            FAILURES, prefetch_s=rng.choice((0.02, 0.0)), prefetch_tasks=rng.choice((2000, 4))
        )
        self.net = RudeNetwork(
            rng,
            may_repeat_late=lambda message: isinstance(message, LATE),
            may_haunt=lambda message: isinstance(message, LATE),
        )
        self.workers: dict[str, SimWorker] = {}
        self.registered: set[str] = set()
        self.clients: dict[str, SimClient] = {}
        self.definitions = Definitions()
        self.books = Books()
        self.unlucky: Counter[str] = Counter()
        self.awaited: set[int] = set()
        self.temper = (10, 12, rng.choice((1, 2, 4)), rng.choice((0.3, 1, 3)))
        self.tokens = 0
        self.names = 0
        self.is_calm = self.is_undecided = False
        self.haste = rng.choice((1.0, 0.5, 0.2))
        """How likely the machine decides about messages before others come."""

    def live(self, steps: int) -> None:
        """So many steps of trouble, then peace, then the reckoning."""
        self.join_client()
        self.start_worker(self.rng.choice(list(WORKERS)))
        for _ in range(steps):
            self.step()
        self.calm_down()
        self.check_ends()

    def step(self) -> None:
        """Something happens."""
        what = self.rng.choices((self.deliver, self.work, self.wish, self.strike), (10, 12, 2.0, 0.6))[0]
        what()

    # -- the machine --------------------------------------------------------------------------------------------------

    def handle(self, event: events.Event) -> None:
        """Let the machine handle an event, check it, and send on what it says."""
        if isinstance(event, events.WorkerMessages):
            self.books.hear(event.address, event.messages)
        if isinstance(event, events.WorkerMessages | events.ClientMessages):
            self.machine.take(event)
            self.is_undecided = True
            if self.is_calm or self.rng.random() < self.haste:
                self.decide()
            return
        self.decide()
        if isinstance(event, events.WorkerLeft | events.WorkerJoined):
            self.books.forget(event.address)
        self._carry_out(self.machine.handle(event))
        self.books.check(self.machine.state)

    def decide(self) -> None:
        """Have the machine decide about the messages that came in one turn."""
        if self.is_undecided:
            self.is_undecided = False
            self._carry_out(self.machine.decide())
            self.books.check(self.machine.state)

    def _carry_out(self, actions: list[Any]) -> None:
        validate(self.machine.state)
        seen: set[tuple[type, str]] = set()
        for action in actions:
            if isinstance(action, Answer):
                assert action.error is None
                self.awaited.remove(action.token)
                continue
            peer = action.address if isinstance(action, ToWorker) else action.client
            assert (type(action), peer) not in seen, "two batches for one peer"
            seen.add((type(action), peer))
            assert action.messages
            assert peer in (self.registered if isinstance(action, ToWorker) else self.clients)
            self.net.send(SCHEDULER, peer, *action.messages)
            if isinstance(action, ToWorker):
                self.books.say(peer, action.messages)

    def deliver(self) -> None:
        """A batch arrives somewhere."""
        delivery = self.net.deliver()
        if delivery is None:
            return
        if delivery.target == SCHEDULER:
            self._deliver_to_machine(delivery.source, delivery.messages)
            return
        for message in (one for said in delivery.messages for one in apart(said)):
            if worker := self.workers.get(delivery.target):
                worker.hear(message)
            elif client := self.clients.get(delivery.target):
                assert isinstance(delivery.target, str)
                client.hear(message)
        self.flush()

    def _deliver_to_machine(self, source: str, messages: list[Any]) -> None:
        if source in WORKERS:
            self.handle(events.WorkerMessages(source, messages))
        else:
            self.handle(events.ClientMessages(source, messages))

    def flush(self) -> None:
        """Put what everybody says on its way."""
        peers: list[tuple[str, SimWorker | SimClient]] = [
            *self.workers.items(),
            *self.clients.items(),
        ]
        for name, peer in peers:
            says, peer.says = peer.speak(), []
            if name in self.registered or name in self.clients:
                self.net.send(name, SCHEDULER, *says)

    def work(self) -> None:
        """Some worker does something."""
        if self.workers:
            self.work_at(self.rng.choice(list(self.workers)))

    def work_at(self, address: str) -> None:
        """This worker does something, which may be its last."""
        worker = self.workers[address]
        try:
            worker.step()
        except PoisonedError as end:
            self.flush()
            self.kill(address, str(end))
        self.flush()

    def wish(self) -> None:
        """Some client does something."""
        client = self.rng.choice(list(self.clients.values()))
        if self.workers and self.rng.random() < 0.15:
            self.scatter(client)
        else:
            client.act()
        self.flush()

    def scatter(self, client: SimClient) -> None:
        """A client puts data on workers."""
        key = self.definitions.new_key("data")
        for address in (chosen := self.rng.sample(list(self.workers), self.rng.randint(1, len(self.workers)))):
            self.workers[address].data[key] = (key,)
        client.scattered(key, (key,), chosen)

    # -- workers and clients come and go ------------------------------------------------------------------------------

    def start_worker(self, address: str) -> None:
        """A fresh worker process registers."""
        name, _, nthreads, resources = WORKERS[address]
        self.workers[address] = SimWorker(address, name, nthreads, self.rng, self.workers, resources)
        self.register(address)

    def register(self, address: str) -> None:
        """A worker that the scheduler does not know registers, with what it holds."""
        self.decide()
        worker = self.workers[address]
        worker.forget_scheduler()
        worker.says.clear()
        self.net.cut(address)
        name, host, nthreads, resources = WORKERS[address]
        self.registered.add(address)
        data = dict.fromkeys(worker.data, 8)
        self.handle(events.WorkerJoined(address, name, nthreads, dict(resources), host, data=data))

    def kill(self, address: str, by: str = "") -> None:
        """A worker process dies at once; the scheduler hears of it in its time."""
        del self.workers[address]
        self._cut(address, by)

    def _cut(self, address: str, by: str) -> None:
        """The connection breaks; what was on its way to the scheduler may still arrive, or not."""
        before = list(self.net.streams.get((address, SCHEDULER), ()))
        keep = before[: self.rng.randint(0, len(before))] if not self.is_calm else before
        self.net.cut(address)
        self.net.send(address, SCHEDULER, *keep)
        self._lose(address, by)

    def _lose(self, address: str, by: str) -> None:
        state = self.machine.state
        stream = self.net.streams.pop((address, SCHEDULER), ())
        if stream:
            self.handle(events.WorkerMessages(address, list(stream)))
        # What that made the scheduler say goes into the broken connection.
        self.net.streams.pop((SCHEDULER, address), None)
        worker = state.workers.get(address)
        self.decide()
        self.registered.discard(address)
        if worker is None:
            return
        if worker.alone is not None and worker.alone.key != by:
            self.unlucky[worker.alone.key] += 1
        self.handle(events.WorkerLeft(address, f"{address}: died", expected=False))

    def strike(self) -> None:
        """Bad luck, or somebody's doing."""

        rng = self.rng
        absent = [address for address in WORKERS if address not in self.workers]
        lost = [address for address in self.workers if address not in self.registered]
        choices: list[Any] = [self.beat, self.beat, *[self.control] * 3]
        choices += [lambda: self.start_worker(rng.choice(absent))] * 4 * bool(absent)
        choices += [lambda: self.register(rng.choice(lost))] * 4 * bool(lost)
        if self.registered:
            there = rng.choice(sorted(self.registered))
            choices += [lambda: self.kill(there), lambda: self.glitch(there), lambda: self.part(there)]
            choices += [lambda: self.replace(there), lambda: self.drop_some(there)]
        choices += [self.join_client] if len(self.clients) < 2 else [self.lose_client]
        rng.choice(choices)()
        self.flush()

    def glitch(self, address: str) -> None:
        """The connection breaks and the worker lives on, with its data."""
        self._cut(address, "")

    def replace(self, address: str) -> None:
        """A new process registers at the address before the end of the old one is noticed."""
        worker = self.machine.state.workers[address]
        if worker.alone is not None:
            self.unlucky[worker.alone.key] += 1
        self.start_worker(address)

    def part(self, address: str) -> None:
        """The worker leaves on purpose."""
        worker = self.workers[address]
        self.net.streams.pop((SCHEDULER, address), None)
        back = [TaskReturned(key, task.run) for key, task in worker.waiting.items()]
        last = [*self.net.streams.pop((address, SCHEDULER), ()), Goodbye("bye"), *back]
        self.handle(events.WorkerMessages(address, last))
        self.net.cut(address)
        del self.workers[address]
        self.decide()
        self.registered.discard(address)
        self.handle(events.WorkerLeft(address, "bye", expected=True))

    def drop_some(self, address: str) -> None:
        """The worker lost some of its data."""
        worker = self.workers[address]
        keys = [key for key in worker.data if self.rng.random() < 0.3 and key.startswith("t")]
        if keys:
            for key in keys:
                del worker.data[key]
                worker.made.pop(key, None)
            worker.says.append(DataDropped(keys))

    def beat(self) -> None:
        """A worker sends a heartbeat; it may be short of memory."""
        if self.workers:
            self.rng.choice(list(self.workers.values())).beat(paused=self.rng.random() < 0.3)

    def control(self) -> None:
        """Somebody asks for data or workers to move, or for a restart."""
        self.tokens += 1
        token, rng = self.tokens, self.rng
        self.awaited.add(token)
        keys = rng.sample(self.definitions.shared, min(4, len(self.definitions.shared)))
        keys += [key for key in self.definitions.specs if key.startswith("own")]
        some = rng.choice((None, rng.sample(list(WORKERS), 2)))
        kind = rng.choices(("replicate", "rebalance", "retire", "restart"), (5, 4, 1, 0.1))[0]
        if kind == "replicate":
            self.handle(events.ReplicateWanted(token, keys, rng.choice((None, 2)), some))
        elif kind == "rebalance":
            self.handle(events.RebalanceWanted(token, rng.choice((None, keys)), some))
        elif kind == "retire":
            self.handle(events.RetireWanted(token, [rng.choice(list(WORKERS))]))
        else:
            self.handle(events.RestartWanted(token))

    def join_client(self) -> None:
        """A client opens its stream."""
        self.names += 1
        client = SimClient(f"c{self.names}", self.rng, self.definitions)
        self.clients[client.name] = client
        self.handle(events.ClientJoined(client.name))

    def lose_client(self) -> None:
        """A client is gone."""
        name = self.rng.choice(list(self.clients))
        self.decide()
        del self.clients[name]
        self.net.cut(name)
        self.handle(events.ClientLeft(name))

    # -- the end ------------------------------------------------------------------------------------------------------

    def calm_down(self) -> None:
        """Let everything that is under way come to its end."""
        self.is_calm = True
        self.decide()
        for worker in self.workers.values():
            worker.reach = 1.0
        self.net.calm()
        for _ in range(200):
            self._everybody_there()
            self._until_silent()
            if not self._heal():
                return
        raise AssertionError(f"no end: {self.machine.state.tasks}")

    def _everybody_there(self) -> None:
        state = self.machine.state
        for address in WORKERS:
            if address in state.workers and state.workers[address].leaving:
                self.part(address)
            if address not in self.workers:
                self.start_worker(address)
            elif address not in self.registered:
                self.register(address)
            self.workers[address].beat(paused=False)
        self.flush()

    def _until_silent(self) -> None:
        for _ in range(100_000):
            busy = [address for address, worker in self.workers.items() if worker.is_busy()]
            if busy:
                self.work_at(self.rng.choice(busy))
            if not self.net.is_silent():
                self.deliver()
            elif not busy:
                return
        raise AssertionError("it goes round in circles")

    def _heal(self) -> bool:
        """Look for results that are not where the scheduler thinks, as a client does that fetches them."""
        state = self.machine.state
        missing = {
            task.key: wrong
            for task in state.tasks.values()
            if task.state == MEMORY
            and (wrong := [w.address for w in task.holders if task.key not in self._data(w.address)])
        }
        if missing:
            self.handle(events.DataMissing(missing))
        absent = WORKERS.keys() - self.registered
        return bool(missing or absent or not self.net.is_silent())

    def _data(self, address: str) -> dict[str, Any]:
        return self.workers[address].data if address in self.workers else {}

    def check_ends(self) -> None:
        """Every wanted key has come to an end, and it is the right one."""
        state = self.machine.state
        assert not self.awaited, "a control event was never answered"
        assert not state.stealing
        assert not any(worker.processing for worker in state.workers.values())
        for client in self.clients.values():
            for key in sorted(client.wants):
                message = client.heard.get(key)
                where = f"{client.name} wants {key}"
                assert message is not None, f"{where} and never heard: {state.tasks.get(key)}"
                if isinstance(message, KeyInMemory):
                    self._check_value(key)
                elif isinstance(message, KeyErred):
                    self._check_error(key, message)
        for worker in self.workers.values():
            known = {task.key for task in state.workers[worker.address].data}
            held = set(worker.data)
            # The client may have gone before it could tell of what it scattered.
            kept = {key for key in held - known if key not in self.definitions.scattered}
            assert known <= held, f"{worker.address} lacks {known - held}"
            assert not kept, f"{worker.address} keeps {kept}"

    def _check_value(self, key: str) -> None:
        task = self.machine.state.tasks[key]
        assert task.state == MEMORY
        for holder in task.holders:
            assert self._data(holder.address)[key] == self.right_value(key)

    def right_value(self, key: str) -> Any:
        """What the key must be, from the definitions."""
        if key in self.definitions.scattered:
            return self.definitions.scattered[key]
        spec = self.definitions.specs[key]
        assert isinstance(spec.args, bytes)
        return value_of(key, spec.args, {d: self.right_value(d) for d in spec.dependencies})

    def _check_error(self, key: str, message: KeyErred) -> None:
        blame = self._blamed(key, message)
        kind = message.error.type_name.rpartition(".")[2]
        behaviours = {
            args.split()[1].decode()
            for guilty in blame
            if isinstance(args := self.definitions.specs[guilty].args, bytes)
        }
        if kind == "KilledWorker":
            guilty = message.error.data["key"]
            assert len(message.error.data["causes"]) == FAILURES
            args = self.definitions.specs[guilty].args
            assert isinstance(args, bytes)
            innocent = b"poison" not in args
            assert not innocent or self.unlucky[guilty] >= FAILURES - 1, f"{guilty} is innocent"
        elif kind == "ValueError":
            assert behaviours & {"raise", "flaky"}, f"{key} raised without a reason"
        else:
            assert kind in ("WorkerLostError", "CommError"), kind

    def _blamed(self, key: str, message: KeyErred) -> list[str]:
        guilty = message.error.message
        return [guilty] if guilty in self.definitions.specs else []
