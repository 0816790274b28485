"""Count what tasks cost instead of timing it: the same on a busy machine as on a quiet one.

    python benchmarks/hot_path.py             # bytecode instructions per task, beside the recorded ones
    python benchmarks/hot_path.py --record    # keep them; tests/model/test_hot_path.py compares with these

A client's session, a scheduler's machine and two workers' machines with their executors and runners pass messages,
encoded and decoded as on the wire, in this one thread: no socket, no clock, and so the same batches each time.  Counted
are the bytecode instructions that each of them executes.  What C code does in one instruction is not seen: this guards
against work that creeps into the hot path, and does not replace a stopwatch.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import operator
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from distributed.client.functions import Function, FunctionRegistry
from distributed.client.future import Future
from distributed.client.keys import TokenSource
from distributed.client.mapping import CALLS_PER_BATCH, Calls
from distributed.client.session import Session
from distributed.comm import Connection
from distributed.messages import TaskFinished, TaskSpec
from distributed.scheduler.actions import ToWorker
from distributed.scheduler.events import ClientJoined, ClientMessages, WorkerJoined, WorkerMessages
from distributed.scheduler.machine import SchedulerMachine
from distributed.wire.frames import Decoder, Encoder
from distributed.wire.payload import dumps_call
from distributed.worker import actions, events
from distributed.worker.executor import Executor
from distributed.worker.machine import WorkerMachine
from distributed.worker.running import TaskRunner
from distributed.worker.store import Store

__all__ = ["JOBS", "RECORD", "count_job", "version"]

RECORD = Path(__file__).resolve().parent / "results" / "hot_path.json"
NO_OP_S = 1e-5
Counts = dict[str, float]


def version() -> str:
    """Return the Python version that counts are kept for: each minor version has its own bytecode."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


class InstructionCounter:
    """Counts bytecode instructions by role while a role is at work."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._role = ""

    @contextlib.contextmanager
    def of(self, role: str) -> Iterator[None]:
        """Count what is executed inside for ``role``."""
        before, self._role = sys.gettrace(), role
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: Any, _event: str, _arg: Any) -> Callable[..., Any]:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, _frame: Any, event: str, _arg: Any) -> Callable[..., Any]:
        if event == "opcode":
            self.counts[self._role] += 1
        return self._step


class Wire:
    """Messages as they arrive at the other end."""

    def __init__(self) -> None:
        self._encoder, self._decoder = Encoder(), Decoder()

    def pass_on(self, messages: list[Any]) -> list[Any]:
        """Encode and decode a batch."""
        chunk = self._encoder.encode(messages)
        header = len(messages).to_bytes(4, "big")
        return self._decoder.decode(b"\xdd" + header + bytes(chunk.body), chunk.frames)


class SentHere:
    """The client's connection, as far as a session needs one: it keeps what is sent."""

    pending = pending_bytes = 0
    closed = False

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, *messages: Any) -> None:
        """Keep messages."""
        self.sent += messages

    async def follow(self, _take: Callable[[list[Any]], None]) -> None:
        """Wait for ever: what arrives is handed to the session by the bench."""
        await asyncio.Event().wait()

    async def drain(self) -> None:
        """All is sent."""

    def abort(self) -> None:
        """Nothing is open."""


class BenchWorker:
    """A worker without its daemon: machine, store, runner and the executor's queue."""

    def __init__(self, address: str, bench: Bench) -> None:
        self.address = address
        self.bench = bench
        self.store = Store()
        self.machine = WorkerMachine(address, self.store.held)
        self.runner = TaskRunner(self.store, address)
        self.executor = Executor(0, self.runner, lambda: None)  # no thread: run_all is the thread

    def handle(self, event: events.Event) -> list[Any]:
        """Let the machine handle an event, do what it says, return what the scheduler is told."""
        said: list[Any] = []
        for action in self.machine.handle(event):
            if isinstance(action, actions.SendScheduler):
                said += action.messages
            elif isinstance(action, actions.LearnFunctions):
                self.runner.learn(action.functions)
            elif isinstance(action, actions.Execute):
                self.executor.push(action.tasks)
            elif isinstance(action, actions.Fetch):
                said += self._fetch(action)
        return said

    def _fetch(self, action: actions.Fetch) -> list[Any]:
        data = self.bench.workers[action.address].store
        values = {key: data[key] for key in action.keys}
        return self.handle(events.Fetched(action.address, dict.fromkeys(values, 28), values))

    def run_all(self) -> list[Any]:
        """Run what is queued, as threads do, and return what the scheduler is told."""
        outcomes = []
        while self.executor.queued:
            task = self.executor._next()
            assert task is not None
            outcome = self.runner(task)
            assert isinstance(outcome[1], TaskFinished), outcome[1]
            outcome[1].duration_s = NO_OP_S  # or the batches would depend on the clock
            outcomes.append(outcome)
        return self.handle(events.Executed(outcomes)) if outcomes else []


class Bench:
    """One of each, and the count of what each did."""

    def __init__(self) -> None:
        self.counter = InstructionCounter()
        self.wire = Wire()
        self.connection = SentHere()
        connection = cast(Connection, self.connection)
        self.session = Session(connection, "c", address="10.0.0.9:1", scheduler_id="s", secret=b"")
        self.machine = SchedulerMachine()
        self.machine.handle(ClientJoined("c"))
        self.workers: dict[str, BenchWorker] = {}
        for address in ("10.0.0.1:1", "10.0.0.2:1"):
            self.workers[address] = BenchWorker(address, self)
            self.machine.handle(WorkerJoined(address))
        self.tokens = TokenSource()
        self.registry = FunctionRegistry()

    # The client that the futures belong to, as far as they need to know it.

    @property
    def _session(self) -> Session:
        return self.session

    def map(self, function: Callable[..., Any], count: int) -> list[Future]:
        """As Client.map, each call by its number."""
        calls = Calls(self.registry.pack(function), (), {}, self.tokens, None)
        futures: list[Future] = []
        for start in range(0, count, CALLS_PER_BATCH):
            batch = [(number,) for number in range(start, min(count, start + CALLS_PER_BATCH))]
            futures += [
                Future(state.key, cast(Any, self), state) for state in calls.send(self.session, batch, None, None)
            ]
        return futures

    def submit(self, function: Callable[..., Any], *args: Any) -> Future:
        """As Client.submit."""
        packed: Function = self.registry.pack(function)
        payload, dependencies = dumps_call(args, {})
        spec = TaskSpec(f"{packed.name}-{self.tokens.next()}", packed.id, payload, dependencies)
        return Future(spec.key, cast(Any, self), self.session.submit([spec], packed)[0])

    def work(self) -> None:
        """Go round until nobody has anything to say."""
        while self._round():
            pass

    def _round(self) -> bool:
        news: list[Any] = []
        with self.counter.of("client"):
            self.session._on_wake()
        sent, self.connection.sent = self.connection.sent, []
        if sent:
            news.append(ClientMessages("c", self.wire.pass_on(sent)))
        for worker in self.workers.values():
            with self.counter.of("worker"):
                said = worker.run_all()
            if said:
                news.append(WorkerMessages(worker.address, self.wire.pass_on(said)))
        for event in news:
            with self.counter.of("scheduler"):
                found = self.machine.handle(event)
            for action in found:
                self._deliver(action)
        return bool(news) or bool(self.session._outgoing) or bool(self.session._released)

    def _deliver(self, action: Any) -> None:
        messages = self.wire.pass_on(action.messages)
        if not isinstance(action, ToWorker):
            with self.counter.of("client"):
                self.session._receive(messages)
            return
        with self.counter.of("worker"):
            said = self.workers[action.address].handle(events.SchedulerMessages(messages))
        if said:
            with self.counter.of("scheduler"):
                found = self.machine.handle(WorkerMessages(action.address, self.wire.pass_on(said)))
            for more in found:
                self._deliver(more)


def _map(bench: Bench) -> list[Future]:
    with bench.counter.of("client"):
        return bench.map(operator.index, 1000)


def _submits(bench: Bench) -> list[Future]:
    futures = []
    for number in range(100):
        with bench.counter.of("client"):
            futures.append(bench.submit(operator.index, number))
        bench.work()
    return futures


def _chain(bench: Bench) -> list[Future]:
    with bench.counter.of("client"):
        futures = [bench.submit(operator.index, 0)]
        for _ in range(99):
            futures.append(bench.submit(operator.index, futures[-1]))
    return futures


def _all_to_all(bench: Bench) -> list[Future]:
    with bench.counter.of("client"):
        parts = bench.map(operator.index, 30)
        return parts + [bench.submit(max, *parts) for _ in range(30)]


JOBS: dict[str, Callable[[Bench], list[Future]]] = {
    "map": _map,
    "submit": _submits,
    "chain": _chain,
    "all_to_all": _all_to_all,
}


async def _run(job: str) -> Counts:
    bench = Bench()
    bench.work()
    warm = bench.map(operator.index, 50)
    bench.work()
    del warm
    bench.work()
    bench.counter.counts.clear()
    futures = JOBS[job](bench)
    bench.work()
    assert all(future.status == "finished" for future in futures), "not all is done"
    count = len(futures)
    with bench.counter.of("client"):
        futures.clear()
    bench.work()
    assert not bench.machine.state.tasks, "not all is released"
    await bench.session.close()
    return {role: round(number / count, 1) for role, number in sorted(bench.counter.counts.items())}


def count_job(job: str) -> Counts:
    """Return role -> instructions per task of one of :data:`JOBS`, from submission to release."""
    gc.collect()
    gc.disable()  # or it would be counted who is found dead meanwhile
    try:
        return asyncio.run(_run(job))
    finally:
        gc.enable()


def main() -> None:
    """Print, and record if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    kept: dict[str, dict[str, Counts]] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    counts = {job: count_job(job) for job in JOBS}
    for job, of_roles in counts.items():
        known = kept.get(version(), {}).get(job, {})
        parts = [f"{role} {number:.0f} ({known.get(role, 0):.0f})" for role, number in of_roles.items()]
        print(f"{job:12} {', '.join(parts)}; together {sum(of_roles.values()):.0f} ({sum(known.values()):.0f})")
    if arguments.record:
        kept[version()] = counts
        RECORD.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
