"""What the scheduler's machine holds per task, and what its work costs as tasks and workers become many.

    python benchmarks/memory_per_task.py [TASKS]

Memory is the growth of the process's resident bytes over so many tasks (1,000,000), read as from the wire: keys and
arguments as a client makes them.  *Pending* tasks wait for a worker; *finished* ones have had one.  The costs are CPU
of the machine per task: at that many pending tasks beside 10,000, and with 10,000 workers beside 10.
"""

from __future__ import annotations

import gc
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from distributed.client.keys import TokenSource
from distributed.messages import AddFunction, BlockFinished, Message, RunBlock, RunTask, SubmitBlock
from distributed.scheduler.actions import ToWorker
from distributed.scheduler.events import ClientJoined, ClientMessages, WorkerJoined, WorkerMessages
from distributed.scheduler.machine import SchedulerMachine
from distributed.wire.frames import decode_batch, encode_batch
from distributed.wire.payload import dumps_call

NO_OP_S = 1e-5
BATCH = 500
HEAD_BYTES = 12
PAGE_BYTES = 4096


def resident() -> int:
    """Return the resident bytes of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE_BYTES


def cluster(workers: int) -> SchedulerMachine:
    """A machine with one client and so many workers."""
    machine = SchedulerMachine()
    machine.handle(ClientJoined("client"))
    for i in range(workers):
        machine.handle(WorkerJoined(f"10.{i // 62500}.{i // 250 % 250}.{i % 250}:4000", name=f"w{i}", nthreads=1))
    return machine


def blocks(tasks: int) -> Iterator[ClientMessages]:
    """Independent tasks as a client's ``map`` sends them, decoded."""
    tokens = TokenSource()
    for start in range(0, tasks, BATCH):
        keys = tokens.many("increment-", BATCH)
        args = [dumps_call((i,), {})[0] for i in range(start, start + BATCH)]
        message = SubmitBlock("f" * 24, keys, args, {} if start else {"f" * 24: b"f" * 60})
        yield ClientMessages("client", decode_batch(encode_batch([message])[0][HEAD_BYTES:]))


def answer(messages: list[Message]) -> list[Message]:
    """What a worker says after it did, at once, all that it was told."""
    said: list[Message] = []
    for message in messages:
        if isinstance(message, RunBlock):
            count = len(message.keys)
            runs = list(range(message.run, message.run + count))
            results: list[bytes | list[object] | None] = [b"\x80\x05K\x01."] * count
            said.append(BlockFinished("int", NO_OP_S * count, message.keys, runs, [28] * count, results))
        elif isinstance(message, RunTask):
            said.append(BlockFinished("int", NO_OP_S, [message.key], [message.run], [28], [b"\x80\x05K\x01."]))
        else:
            assert isinstance(message, AddFunction)
    return said


def finish_all(machine: SchedulerMachine, first: list[object]) -> tuple[float, int]:
    """Work until nothing is left to do; return seconds of CPU in the machine, and the tasks done."""
    spent_s, done = 0.0, 0
    todo = [action for action in first if isinstance(action, ToWorker)]
    while todo:
        following: list[ToWorker] = []
        for action in todo:
            said = decode_batch(encode_batch(answer(action.messages))[0][HEAD_BYTES:])
            done += sum(len(message.keys) for message in said if isinstance(message, BlockFinished))
            began = time.thread_time()
            found = machine.handle(WorkerMessages(action.address, said))
            spent_s += time.thread_time() - began
            following += [more for more in found if isinstance(more, ToWorker)]
        todo = following
    return spent_s, done


def pending_bytes(tasks: int) -> float:
    """Bytes per task that waits for a worker."""
    machine, before = cluster(0), resident()
    for event in blocks(tasks):
        machine.handle(event)
    gc.collect()
    return (resident() - before) / tasks


def finished_bytes(tasks: int) -> float:
    """Bytes per task whose result is at a worker."""
    machine, before = cluster(2), resident()
    for event in blocks(tasks):
        finish_all(machine, list(machine.handle(event)))
    gc.collect()
    assert sum(len(worker.data) for worker in machine.state.workers.values()) == tasks
    return (resident() - before) / tasks


def cost_us(tasks: int, workers: int) -> float:
    """Microseconds of CPU per task, all submitted before the first worker joins, to be dispatched and finished."""
    machine = cluster(0)
    spent_s = 0.0
    for event in blocks(tasks):
        began = time.thread_time()
        machine.handle(event)
        spent_s += time.thread_time() - began
    first: list[object] = []
    for i in range(workers):
        joined = WorkerJoined(f"10.{i // 62500}.{i // 250 % 250}.{i % 250}:4000", name=f"w{i}", nthreads=1)
        began = time.thread_time()
        first += machine.handle(joined)
        spent_s += time.thread_time() - began if workers < 100 else 0.0  # to join is not a task's cost
    more_s, done = finish_all(machine, first)
    assert done == tasks
    return (spent_s + more_s) / tasks * 1e6


def _apart(function: Callable[..., float], *arguments: int) -> float:
    """Run in a process of its own, whose memory nothing else has touched."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_tell, args=(there, function, arguments))
    process.start()
    value: float = here.recv()
    process.join()
    return value


def _tell(there: Connection, function: Callable[..., float], arguments: tuple[int, ...]) -> None:
    there.send(function(*arguments))


def main(tasks: int) -> None:
    """Print everything."""
    print(f"pending task   {_apart(pending_bytes, tasks):6.0f} bytes, over {tasks:,}")
    print(f"finished task  {_apart(finished_bytes, tasks):6.0f} bytes, over {tasks:,}")
    few, many = _apart(cost_us, 10_000, 10), _apart(cost_us, tasks, 10)
    print(f"10,000 pending {few:6.2f} us/task; {tasks:,} pending {many:.2f}: {few / many:.2f} of the speed")
    few, many = _apart(cost_us, tasks, 10), _apart(cost_us, tasks, 10_000)
    print(f"10 workers     {few:6.2f} us/task; 10,000 workers {many:.2f}: {few / many:.2f} of the speed")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
