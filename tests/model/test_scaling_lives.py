"""Random lives of the launcher's machine with a rude batch system: late, forgetful, refusing, half-told."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from launchers import events
from launchers.actions import Cancel, Find, GiveUp, Inquire, Poll, Stopped, Submit
from launchers.jobs import JobArray, JobState, JobStatus
from launchers.scaling import ScalingMachine
from launchers.slots import Phase

LIVES = 150
STEPS = 250
ENDS = [JobState.FAILED, JobState.TIMEOUT, JobState.NODE_FAIL, JobState.PREEMPTED, JobState.COMPLETED]


class RudeBatchSystem:
    """Jobs with random fates; every answer may be lost."""

    def __init__(self, chance: random.Random, rudeness: float) -> None:
        self.chance = chance
        self.rudeness = rudeness
        self.jobs: dict[str, JobState] = {}
        self.arrays = 0

    def is_rude(self) -> bool:
        return self.chance.random() < self.rudeness

    def submit(self, first: int, last: int) -> JobArray:
        self.arrays += 1
        array = JobArray(f"A{self.arrays}", {i: f"A{self.arrays}_{i}" for i in range(first, last + 1)})
        self.jobs.update(dict.fromkeys(array.elements.values(), JobState.PENDING))
        return array

    def found(self) -> list[JobArray]:
        arrays: dict[str, dict[int, str]] = {}
        for element, state in self.jobs.items():
            if state.is_active:
                name, _, index = element.partition("_")
                arrays.setdefault(name, {})[int(index)] = element
        return [JobArray(name, elements) for name, elements in arrays.items()]

    def live(self) -> None:
        for element, state in list(self.jobs.items()):
            if state is JobState.PENDING and self.chance.random() < 0.3:
                self.jobs[element] = JobState.RUNNING
            elif state is JobState.RUNNING and self.chance.random() < 0.05:
                self.jobs[element] = self.chance.choice(ENDS)
            elif not state.is_active and self.chance.random() < 0.2:
                del self.jobs[element]

    def cancel(self, ids: tuple[str, ...]) -> None:
        for element, state in self.jobs.items():
            if state.is_active and (element in ids or element.partition("_")[0] in ids):
                self.jobs[element] = JobState.CANCELLED

    @property
    def active(self) -> list[str]:
        return [element for element, state in self.jobs.items() if state.is_active]


class Life:
    """One machine on one rude batch system, checked after each event."""

    def __init__(self, seed: int, rudeness: float) -> None:
        self.chance = random.Random(seed)
        self.system = RudeBatchSystem(self.chance, rudeness)
        self.machine = ScalingMachine("c", can_find=True)
        self.now_s = 0.0
        self.out: list[object] = []
        self.workers: set[str] = set()
        self.stopped = False

    def tell(self, kind, *args) -> None:
        for action in self.machine.handle(kind(*args, self.now_s)):
            if isinstance(action, Submit | Find | Poll | Inquire | Cancel):
                self.out.append(action)
            self.stopped = self.stopped or isinstance(action, Stopped)
            assert not (isinstance(action, Submit) and (self.machine.stopping or self.machine.gave_up))
        self.check()

    def check(self) -> None:
        assert len(self.out) <= 1, f"two commands at once: {self.out}"
        slots = self.machine.slots.values()
        elements = Counter(slot.element for slot in slots if slot.has_job)
        assert all(count == 1 for count in elements.values()), "one job in two slots"
        progress = self.machine.progress
        assert 0 <= progress.pending + progress.running <= progress.jobs
        if not self.out and not self.stopped and any(s.phase is not Phase.WITHDRAWN for s in slots):
            hopeless = self.machine.gave_up and not any(slot.has_job for slot in slots)
            assert hopeless or self.machine.wake_s() is not None, "it waits for ever"

    def answer(self) -> None:
        action = self.out.pop()
        rude = self.system.is_rude()
        if isinstance(action, Submit):
            array = None if rude and self.system.is_rude() else self.system.submit(action.first, action.last)
            if rude or array is None:  # refused, or taken although it says otherwise
                self.tell(events.SubmitFailed, action.first, action.last, "Socket timed out", True, True)
            else:
                self.tell(events.Submitted, action.first, action.last, array)
        elif isinstance(action, Find):
            self.tell(events.FindFailed, "down") if rude else self.tell(events.Found, self.system.found())
        elif isinstance(action, Poll):
            if rude:
                self.tell(events.PollFailed, "down")
            else:
                asked = {i: JobStatus(self.system.jobs[i]) for i in action.ids if i in self.system.jobs}
                self.tell(events.Polled, asked)
        elif isinstance(action, Inquire):
            self.tell(events.Inquired, {i: JobStatus(JobState.GONE) for i, _ in action.elements})
        else:
            self.cancel(action, rude)

    def cancel(self, action: Cancel, rude: bool) -> None:
        if rude:
            self.tell(events.CancelFailed, "down")
            return
        self.system.cancel(action.ids)
        self.tell(events.Cancelled)

    def step(self) -> None:
        self.system.live()
        running = [e for e in self.system.active if self.system.jobs[e] is JobState.RUNNING]
        names = {f"c.{element.partition('_')[2]}" for element in running}
        for name in sorted(self.workers - names):
            self.workers.discard(name)
            self.tell(events.WorkerLeft, name)
        for name in sorted(names - self.workers):
            if self.chance.random() < 0.7:
                self.workers.add(name)
                self.tell(events.WorkerCame, name)
        if self.out and self.chance.random() < 0.6:
            self.answer()
        wake_s = self.machine.wake_s()
        self.now_s += self.chance.choice([0.1, 1.0, 5.0])
        if wake_s is not None and self.chance.random() < 0.5:
            self.now_s = max(self.now_s, wake_s)
        self.tell(events.Tick)


@pytest.mark.parametrize("rudeness", [0.0, 0.2, 0.5])
def test_random_lives_end_with_nothing_left(rudeness):
    for seed in range(LIVES // 3):
        life = Life(seed, rudeness)
        life.tell(events.TargetChanged, life.chance.randint(0, 6))
        for _ in range(STEPS):
            if life.chance.random() < 0.02:
                life.tell(events.TargetChanged, life.chance.randint(0, 8))
            life.step()
        life.tell(events.StopWanted, False)
        for _ in range(4 * STEPS):
            if life.stopped:
                break
            life.step()
        assert life.stopped, f"seed {seed}: it never stops"
        assert rudeness > 0.4 or not life.system.active, f"seed {seed}: left {life.system.active}"


def test_a_friendly_batch_system_gets_the_target_filled():
    life = Life(1, 0.0)
    life.system.live = lambda: life.system.jobs.update(dict.fromkeys(life.system.active, JobState.RUNNING))
    life.tell(events.TargetChanged, 8)
    for _ in range(40):
        life.step()
    assert life.machine.progress.registered == 8
    assert life.system.arrays == 1


def test_a_batch_system_that_is_down_is_given_up():
    life = Life(1, 1.0)
    gave_up = []
    original = life.machine.handle
    life.machine.handle = lambda event: [
        gave_up.append(a) or a if isinstance(a, GiveUp) else a for a in original(event)
    ]
    life.tell(events.TargetChanged, 2)
    for _ in range(STEPS * 4):
        life.step()
    assert gave_up
