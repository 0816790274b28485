"""What must hold for a worker between any two events, checked both ways.  For tests: it looks at everything."""

from __future__ import annotations

from distributed.worker.machine import WorkerMachine

__all__ = ["validate"]


def validate(machine: WorkerMachine) -> None:
    """Raise AssertionError if the machine's state contradicts itself."""
    keys = [*machine.active, *machine.waiting, *machine.resources.blocked]
    assert len(keys) == len(set(keys)), "a task is at two places"
    _check_waiting(machine)
    for leader, follower in machine.lines.followers.items():
        assert leader in follower.dependencies, f"{follower.key} follows {leader}, which it does not need"
        assert leader in machine.active, f"{follower.key} follows {leader}, which the executor has not"
        assert machine.active.get(follower.key) is follower, f"{follower.key} follows, but the executor has it not"
    fetches = machine.fetches
    for needed in machine.needed_by:
        assert needed in fetches or machine.current(needed) is not None, f"{needed} will never come"
    for key in machine.asked:
        assert key in fetches or machine.current(key) is not None, f"{key} was asked for and will never come"
    for key in fetches.wants:
        assert key in machine.needed_by or key in machine.asked, f"{key} is fetched for nobody"
    fetches.validate()


def _check_waiting(machine: WorkerMachine) -> None:
    waiting, needed_by = machine.waiting, machine.needed_by
    for key, wait in waiting.items():
        assert wait.tasks[key].key == key
        assert wait.missing, f"{key} waits for nothing"
        for needed in wait.missing:
            assert wait in needed_by[needed], f"{needed} does not know that {key} waits for it"
    for needed, waits in needed_by.items():
        assert waits, f"{needed} is needed by nobody"
        for wait in waits:
            assert wait.tasks, f"{needed} is needed by nobody"
            assert needed in wait.missing, f"{list(wait.tasks)} do not wait for {needed}"
            assert all(waiting[key] is wait for key in wait.tasks), f"{needed} is needed by who left"
