"""Random lives of the worker's machine: a rude scheduler, failing peers, threads that start when
they like.  After each event the machine must agree with itself and with the world; at the end of a
life, when everybody answers, nothing may be left undone.
"""

from __future__ import annotations

import copy
import os
import random
import time

import pytest

from distributed.messages import (
    CancelTask,
    DataAdded,
    DropData,
    ErrorInfo,
    FetchData,
    FetchFailed,
    Goodbye,
    RunBlock,
    RunTask,
    StealTask,
    TaskErred,
    TaskFinished,
    TaskMissingData,
    TaskReturned,
)
from distributed.worker import events
from distributed.worker.fetches import PEERS_AT_ONCE
from distributed.worker.invariants import validate
from distributed.worker.machine import WorkerMachine
from tests.blocks import apart

ME = "10.0.0.1:1"
PEERS = [f"10.0.0.{n}:1" for n in range(2, 6)]
KEYS = [f"k{n}" for n in range(12)]
STEPS = 150
BUDGET_S = float(os.environ.get("DLAUNCH_MODEL_S", "3"))
ANSWERS = (TaskFinished, TaskErred, TaskReturned, TaskMissingData)


class World:
    """What is around the machine: a scheduler that is owed answers, threads, peers."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.machine = WorkerMachine(ME, resources={"GPU": 1}, memory_limit=1000)
        self.runs = 0
        self.sent = []
        self.owed = {}
        self.asked = set()
        self.answered = set()
        self.queued = []
        self.running = []
        self.followers = []
        self.taken = []
        self.begun = {}
        self.lines = 0
        self.ended = []
        self.requests = {}
        self.paused = False
        self.story = []

    def happen(self, event):
        self.story.append(event)
        self._take(self.machine.handle(event))
        validate(self.machine)
        assert len(self.requests) <= PEERS_AT_ONCE

    def _take(self, found):
        for action in found:
            getattr(self, f"on_{type(action).__name__.lower()}")(action)

    def on_learnfunctions(self, action):
        raise AssertionError("no functions were sent")

    def on_drop(self, action):
        assert self.machine.held.keys().isdisjoint(action.keys)

    def on_execute(self, action):
        assert not self.machine.closing
        for task in action.tasks:
            self._detach(task)
            if not self._is_taken(task):
                self.queued.append(task)

    def on_follow(self, action):
        for leader, follower in action.pairs:
            assert leader in [*self.queued, *self.running, *[task for task, _, _ in self.ended]] or any(
                leader is other for _, other in self.followers
            )
            self.followers.append((leader, follower))

    def _detach(self, task):
        """Whether it was to follow another."""
        before = len(self.followers)
        self.followers = [pair for pair in self.followers if pair[1] is not task]
        return len(self.followers) < before

    def _is_taken(self, task):
        """Whether a thread has gone on with it; nobody asks twice."""
        before = len(self.taken)
        self.taken = [other for other in self.taken if other is not task]
        return len(self.taken) < before

    def on_withdraw(self, action):
        taken = []
        for task in action.tasks:
            if any(task is queued for queued in self.queued):
                self.queued = [queued for queued in self.queued if queued is not task]
                taken.append(task)
            elif self._detach(task):
                taken.append(task)
            else:
                self._is_taken(task)
        if taken:
            self._take(self.machine.handle(events.Withdrawn(taken)))

    def on_fetch(self, action):
        assert not self.paused
        assert action.address != ME
        assert action.address not in self.requests, "two requests to one peer at a time"
        self.requests[action.address] = action.keys

    def on_pause(self, action):
        self.paused = True

    def on_resume(self, action):
        self.paused = False

    def on_sendscheduler(self, action):
        for message in (one for said in action.messages for one in apart(said)):
            if isinstance(message, ANSWERS):
                run = message.key, message.run
                assert run not in self.answered, f"{run} was answered twice"
                assert run in self.owed, f"{run} was answered though nobody waits for it"
                self.answered.add(run)
                del self.owed[run]
            elif isinstance(message, DataAdded):
                self.asked -= set(message.data)
            elif isinstance(message, FetchFailed):
                self.asked -= set(message.missing)

    # -- what may happen -----------------------------------------------------------

    def step(self):
        chance = self.random.random()
        if chance < 0.45:
            self._scheduler_speaks()
        elif chance < 0.6:
            self._thread_starts()
        elif chance < 0.75:
            self._threads_end()
        elif chance < 0.9:
            self._peer_answers()
        else:
            self._something_rare()

    def _scheduler_speaks(self):
        batch = []
        for _ in range(self.random.choice([1, 1, 2, 5])):
            if self.sent and self.random.random() < 0.15:
                # A duplicate, or late; what comes over a wire is always an object of its own.
                batch.append(copy.copy(self.random.choice(self.sent)))
            else:
                batch.append(self._new_message())
        # What is owed is decided in the order in which the machine reads.
        for message in batch:
            for one in apart(message):
                self._note(one)
            self.happen(events.SchedulerMessages([message]))
        self.sent = (self.sent + batch)[-30:]

    def _new_message(self):
        if self.taken and self.random.random() < 0.2:  # rude: what has begun before its leader's end is known
            task = self.random.choice(self.taken)
            return self.random.choice([StealTask, CancelTask])(task.key, task.run)
        key = self.random.choice(KEYS)
        kind = self.random.random()
        if kind < 0.45:
            return self._new_task(key)
        if kind < 0.55:
            # Dependencies go down: so none of a block's tasks gives back, by its own end, one that comes after it.
            keys = sorted(self.random.sample(KEYS, 3), reverse=True)
            self.runs += 3
            block = RunBlock("f", self.runs - 2, keys, [b""] * 3, [self.random.randrange(9) for _ in keys])
            others = [k for k in KEYS if k < min(keys)]
            block.dependencies = self.random.sample(others, min(len(others), self.random.choice([0, 2, 3])))
            block.who_has = {k: self._holders() for k in block.dependencies if self.random.random() < 0.7}
            return block
        run = self.random.choice([run for k, run in self.owed if k == key] or [self.runs])
        if kind < 0.7:
            return StealTask(key, run)
        if kind < 0.8:
            return CancelTask(key, run)
        if kind < 0.9:
            return DropData(self.random.sample(KEYS, 2))
        return FetchData({k: self._holders() for k in self.random.sample(KEYS, 2)})

    def _new_task(self, key):
        self.runs += 1
        others = [k for k in KEYS if k < key]  # dependencies go down: no cycles
        needs = self.random.sample(others, min(len(others), self.random.choice([0, 0, 1, 3])))
        resources = {"GPU": self.random.choice([1.0, 5.0])} if self.random.random() < 0.2 else None
        rank = (self.random.randrange(3) << 40) + self.runs
        # Those that are to be fetched; the others ought to be here, or to be computed here.
        who_has = {k: self._holders() for k in needs if self.random.random() < 0.7}
        if self.random.random() < 0.3 and (owed := [k for k, _ in self.owed if k < key]):
            needs, who_has = [self.random.choice(owed)], {}  # sent ahead: it may follow
        return RunTask(key, self.runs, "f", b"", rank, needs, who_has, {}, resources)

    def _holders(self):
        return self.random.sample([ME, *PEERS], self.random.choice([0, 1, 1, 3]))

    def _note(self, message):
        if isinstance(message, RunTask):
            older = [run for key, run in self.owed if key == message.key]
            if older and max(older) >= message.run:
                return
            # A run that was answered and is sent again by a rude network is run again.
            self.answered.discard((message.key, message.run))
            for run in older:
                del self.owed[message.key, run]
            self.owed[message.key, message.run] = message
        elif isinstance(message, CancelTask):
            self.owed.pop((message.key, message.run), None)
        elif isinstance(message, DropData):
            self.asked -= set(message.keys)
        elif isinstance(message, FetchData):
            self.asked |= set(message.who_has)

    def _thread_starts(self):
        if self.queued and not self.paused:
            first = min(self.queued, key=lambda task: task.rank)
            self.queued = [task for task in self.queued if task is not first]
            self._begin(first)
            self.running.append(first)

    def _begin(self, task):
        assert id(task) not in self.begun, f"{task.key} was begun twice"
        self.begun[id(task)] = task

    def _threads_end(self):
        ending = self.running[: self.random.choice([1, 1, 3])]
        self.running = self.running[len(ending) :]
        for task in ending:
            self._end(task, {})
        if self.ended and self.random.random() < 0.7:  # else the loop comes later
            ended, self.ended = self.ended, []
            self.happen(events.Executed(ended))

    def _end(self, task, known):
        self.ended.append(self._outcome(task, known))
        if type(self.ended[-1][1]) is not TaskFinished or self.paused or self.random.random() < 0.3:
            return  # the last: it ended before anybody knew that it is followed
        for leader, follower in self.followers:
            if leader is task:
                self._detach(follower)
                self.taken.append(follower)
                self._begin(follower)
                self.lines += 1
                if self.random.random() < 0.5:
                    self._end(follower, {task.key})
                else:
                    self.running.append(follower)
                break

    def _outcome(self, task, known):
        missing = {key: [ME] for key in task.dependencies if key not in self.machine.held and key not in known}
        if missing:
            return task, TaskMissingData(task.key, task.run, missing), None
        if self.random.random() < 0.2:
            return task, TaskErred(task.key, task.run, ErrorInfo("ValueError", "no")), None
        return task, TaskFinished(task.key, task.run, self.random.randrange(100), 0.1, "int"), 1

    def _peer_answers(self):
        if not self.requests:
            return
        peer = self.random.choice(list(self.requests))
        keys = self.requests.pop(peer)
        if self.random.random() < 0.25:
            self.happen(events.PeerFailed(peer))
        else:
            had = [key for key in keys if self.random.random() < 0.7]
            values = dict.fromkeys(had, 1)
            self.happen(events.Fetched(peer, dict.fromkeys(had, 10), values))

    def _something_rare(self):
        kind = self.random.random()
        keys = self.random.sample(KEYS, 2)
        if kind < 0.4:
            memory = self.random.choice([100, 800, 900, 999])
            self.happen(events.MemoryMeasured(memory, len(self.running)))
        elif kind < 0.6:
            self.happen(events.DataReceived(dict.fromkeys(keys, 5), dict.fromkeys(keys, 1)))
            self.asked -= set(keys)
        elif kind < 0.8:
            self.happen(events.DataDeleted(keys))
        else:
            lost = self.random.choice([events.SchedulerLost, events.SchedulerChanged])
            self.owed.clear()
            self.asked.clear()
            self.sent.clear()
            self.happen(lost())

    # -- the end -------------------------------------------------------------------

    def calm_down(self):
        self.happen(events.MemoryMeasured(0, 0))
        for _ in range(2000):
            self._thread_starts()
            self._threads_end()
            self._peer_answers()
            if not (self.queued or self.running or self.requests or self.ended):
                break
        machine = self.machine
        assert not self.owed, f"never answered: {self.owed}"
        assert not self.asked, f"copies never answered: {self.asked}"
        assert not machine.waiting
        assert not machine.active
        assert not self.taken
        assert not self.followers
        assert not machine.abandoned
        assert not machine.fetches.wants
        assert machine.resources.free() == {"GPU": 1}

    def close(self):
        said = []
        self.on_sendscheduler = lambda action: said.extend(action.messages)
        self.happen(events.Closing("end of the story"))
        assert said[-1] == Goodbye("end of the story")
        active = self.machine.active
        begun = [*self.running, *[task for task, _, _ in self.ended]]
        started = {(t.key, t.run) for t in begun if active.get(t.key) is t}
        returned = {(m.key, m.run) for m in said if isinstance(m, TaskReturned)}
        assert returned == set(self.owed) - started


def live(seed):
    world = World(seed)
    try:
        for _ in range(STEPS):
            world.step()
        if seed % 3:
            world.calm_down()
        else:
            world.close()
    except AssertionError as error:
        tail = "\n".join(map(str, world.story[-15:]))
        pytest.fail(f"life {seed}: {error}\nlast events:\n{tail}")
    return world.lines


def test_random_lives():
    deadline = time.monotonic() + BUDGET_S
    seed = lines = 0
    while time.monotonic() < deadline:
        lines += live(seed)
        seed += 1
    assert seed > 20
    assert lines > seed / 5, "threads hardly ever went on with what followed"
