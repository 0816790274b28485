"""What the scheduler's machine costs per task, without wire, processes or user code.

    python benchmarks/scheduler_machine.py [TASKS]

Prints microseconds per task, for submit, dispatch and finish together, of no-op tasks on 10 and 1000 simulated
workers and of a tree reduction, and the bytes per task that is held (finished, and waiting).
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections.abc import Iterable

from distributed.messages import BlockFinished, Message, RunBlock, RunTask, SubmitTasks, TaskFinished, TaskSpec
from distributed.scheduler.actions import ToWorker
from distributed.scheduler.events import ClientJoined, ClientMessages, WorkerJoined, WorkerMessages
from distributed.scheduler.machine import SchedulerMachine

NO_OP_S = 1e-5
RESULT = b"\x80\x05K\x01."


def cluster(workers: int) -> SchedulerMachine:
    """A machine with one client and so many workers."""
    machine = SchedulerMachine()
    machine.handle(ClientJoined("client"))
    for i in range(workers):
        machine.handle(WorkerJoined(f"10.0.{i // 250}.{i % 250}:4000", name=f"w{i}", nthreads=1))
    return machine


def specs(tasks: int) -> list[TaskSpec]:
    """Independent tasks with keys and arguments as a client makes them."""
    return [TaskSpec(f"inc-{i:032x}", "f" * 32, b"a" * 40) for i in range(tasks)]


def tree(leaves: int) -> list[TaskSpec]:
    """A binary reduction, level by level."""
    level = [f"leaf-{i:032x}" for i in range(leaves)]
    found = [TaskSpec(key, "f" * 32, b"a" * 40) for key in level]
    depth = 0
    while len(level) > 1:
        depth += 1
        above = []
        for i in range(0, len(level), 2):
            key = f"add-{depth}-{i:030x}"
            found.append(TaskSpec(key, "g" * 32, b"a" * 60, level[i : i + 2]))
            above.append(key)
        level = above
    return found


def answers(actions: Iterable[object]) -> list[WorkerMessages]:
    """What workers say after they did, at once, all that they were told."""
    events = []
    for action in actions:
        if isinstance(action, ToWorker):
            done = [_end(message) for message in action.messages if isinstance(message, RunTask | RunBlock)]
            if done:
                events.append(WorkerMessages(action.address, done))
    return events


def _end(message: RunTask | RunBlock) -> Message:
    if isinstance(message, RunTask):
        return TaskFinished(message.key, message.run, 28, NO_OP_S, "int", RESULT)
    count = len(message.keys)
    runs = list(range(message.run, message.run + count))
    return BlockFinished("int", NO_OP_S * count, message.keys, runs, [28] * count, [RESULT] * count)


def run(machine: SchedulerMachine, tasks: list[TaskSpec], batch: int = 1000) -> tuple[float, int]:
    """Submit in batches and work until all is done; seconds of CPU spent in the machine, and events handled."""
    spent_s, handled = 0.0, 0
    functions = {"f" * 32: b"f" * 200, "g" * 32: b"g" * 200}
    pending: list[WorkerMessages | ClientMessages] = []
    for start in range(0, len(tasks), batch):
        part = SubmitTasks(tasks[start : start + batch], functions if not start else {})
        pending.append(ClientMessages("client", [part]))
    pending.reverse()
    while pending:
        event = pending.pop()
        begin_s = time.thread_time()
        actions = machine.handle(event)
        spent_s += time.thread_time() - begin_s
        handled += 1
        for answer in answers(actions):
            pending.insert(0, answer)
    assert not any(worker.processing for worker in machine.state.workers.values())
    return spent_s, handled


def report(name: str, spent_s: float, handled: int, tasks: int) -> None:
    """Print one line."""
    print(f"{name:40} {spent_s / tasks * 1e6:7.2f} us/task   {tasks / handled:8.1f} tasks/event")


def held_bytes(count: int, workers: int) -> float:
    """Bytes per task held by the machine, specifications as decoded from the wire included."""
    machine = cluster(workers)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    run(machine, specs(count))
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / count


def main(count: int) -> None:
    """Run all cases."""
    for workers in (10, 1000):
        spent_s, handled = run(cluster(workers), specs(count))
        report(f"{count} no-op tasks, {workers} workers", spent_s, handled, count)
    leaves = 1 << (count // 2).bit_length() - 1
    tasks = tree(leaves)
    spent_s, handled = run(cluster(10), tasks)
    report(f"tree reduction of {leaves} leaves, 10 workers", spent_s, handled, len(tasks))
    print(f"{'held task, finished':40} {held_bytes(count, 10):7.0f} bytes")
    print(f"{'held task, waiting for a worker':40} {held_bytes(count, 0):7.0f} bytes")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
