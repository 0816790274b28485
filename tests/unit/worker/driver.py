"""A worker's machine, and short words for what happens to it and for what it does."""

from __future__ import annotations

from distributed.messages import RunTask, TaskFinished
from distributed.worker import actions, events
from distributed.worker.invariants import validate
from distributed.worker.machine import WorkerMachine

HERE, THERE, YONDER = "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"


def task(key, run=1, needs=None, rank=0, resources=None, nbytes=None):
    who_has = {key: holders for key, holders in (needs or {}).items() if holders}
    return RunTask(key, run, "f", b"", rank, list(needs or {}), who_has, nbytes or {}, resources)


def done(task, nbytes=8):
    return task, TaskFinished(task.key, task.run, nbytes, 0.1, "int", b"1"), 1


class Driver:
    """A machine and short words for what happens to it."""

    def __init__(self, **settings):
        self.machine = WorkerMachine(HERE, **settings)

    def handle(self, event):
        result = self.machine.handle(event)
        validate(self.machine)
        return result

    @property
    def held(self):
        return {key: (held.value, held.nbytes, held.run) for key, held in self.machine.held.items()}

    def told(self, *messages):
        return self.handle(events.SchedulerMessages(list(messages)))

    def executed(self, *outcomes):
        return self.handle(events.Executed(list(outcomes)))


def sent(found):
    return [m for a in found if isinstance(a, actions.SendScheduler) for m in a.messages]


def of(found, kind):
    return [action for action in found if isinstance(action, kind)]


def executes(found):
    return [t.key for a in of(found, actions.Execute) for t in a.tasks]


def fetches(found):
    return [(a.address, a.keys) for a in of(found, actions.Fetch)]
