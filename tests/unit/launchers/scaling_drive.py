"""The scaling machine with a clock, for its tests."""

from __future__ import annotations

from launchers import events
from launchers.actions import GiveUp, Poll, Submit, Tell
from launchers.jobs import JobArray, JobState, JobStatus
from launchers.scaling import ScalingMachine

PENDING = JobStatus(JobState.PENDING, "Resources")
RUNNING = JobStatus(JobState.RUNNING)
FAILED = JobStatus(JobState.FAILED, exit_code=7)
TIMEOUT = JobStatus(JobState.TIMEOUT)
CANCELLED = JobStatus(JobState.CANCELLED)


class Drive:
    """The machine with a clock; ``do`` returns commands, ``said`` collects what it tells."""

    def __init__(self, n: int = 0, **kw):
        self.machine = ScalingMachine("c", **kw)
        self.now_s = 100.0
        self.said: list[Tell | GiveUp] = []
        self.arrays = 0
        if n:
            assert self.do(events.TargetChanged, n) == [Submit(1, n)]
            self.took(1, n)

    def do(self, kind, *args):
        actions = self.machine.handle(kind(*args, self.now_s))
        self.said += [action for action in actions if isinstance(action, Tell | GiveUp)]
        return [action for action in actions if not isinstance(action, Tell | GiveUp)]

    def took(self, first: int, last: int):
        self.arrays += 1
        array = JobArray(f"J{self.arrays}", {i: f"J{self.arrays}_{i}" for i in range(first, last + 1)})
        return self.do(events.Submitted, first, last, array)

    def sleep(self, seconds: float | None = None):
        """To the next time the machine wants (or by ``seconds``) and tick."""
        if seconds is None:
            wake_s = self.machine.wake_s()
            assert wake_s is not None, "the machine waits for ever"
            seconds = max(0.0, wake_s - self.now_s)
        self.now_s += seconds
        return self.do(events.Tick)

    def poll(self, **statuses: JobStatus):
        """Let it poll and answer; elements as keywords."""
        while not any(isinstance(action, Poll) for action in self.sleep()):
            pass
        return self.do(events.Polled, statuses)
