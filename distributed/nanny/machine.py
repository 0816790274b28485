"""The nanny's decisions: when to start its worker, restart it, kill it, give it up.  Pure.

States: ``stopped`` (no process, none wanted), ``starting`` (a process, not registered), ``running``
(registered), ``restarting`` (none until the back-off is over), ``stopping`` (asked to end),
``given-up``.

A worker that dies is started again, after 0.1 s at first, twice as long after each further death,
up to 30 s; a minute of good life resets this.  It is given up when it dies several times in a row
before it has registered, or very often soon after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from distributed.nanny import events
from distributed.nanny.actions import (
    Action,
    EndNanny,
    KillWorker,
    ReportExit,
    SpawnWorker,
    StopWorker,
    WakeAt,
)
from distributed.units import format_memory

__all__ = ["NannyMachine", "RestartPolicy"]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_DEATH_TIMEOUT: Final = 3


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How patient a nanny is; seconds.

    ``start_failures``: deaths in a row before registering; ``short_lives``: registered lives in a
    row that were shorter than ``good_life_s``.  Reaching either, it gives up.
    """

    first_delay_s: float = 0.1
    longest_delay_s: float = 30.0
    good_life_s: float = 60.0
    start_failures: int = 5
    short_lives: int = 20
    memory_fraction: float = 0.95


class NannyMachine:
    """The state of one nanny.  ``memory_limit`` of its worker process in bytes, 0 for none."""

    def __init__(self, *, memory_limit: int = 0, policy: RestartPolicy | None = None) -> None:
        self.memory_limit = memory_limit
        self.policy = policy or RestartPolicy()
        self.state = "stopped"
        self.worker_address = ""
        self.last_exit = ""
        self.restarts = 0
        self._registered_at_s: float | None = None
        self._has_registered = False
        self._start_failures = 0
        self._short_lives = 0
        self._delays = 0
        self._due_s: float | None = None
        self._start_again = False
        self._kill_reason = ""
        self._on_event: dict[type, Callable[[Any], list[Action]]] = {
            events.StartAsked: self._start_asked,
            events.StopAsked: self._stop_asked,
            events.RestartAsked: self._restart_asked,
            events.WorkerListened: self._worker_listened,
            events.WorkerRegistered: self._worker_registered,
            events.WorkerExited: self._worker_exited,
            events.MemoryMeasured: self._memory_measured,
            events.TimePassed: self._time_passed,
        }

    @property
    def has_process(self) -> bool:
        """Whether there is (or is about to be) a worker process."""
        return self.state in {"starting", "running", "stopping"}

    def handle(self, event: events.Event) -> list[Action]:
        """Take in what happened and return what to do, in order."""
        return self._on_event[type(event)](event)

    # -- what others want --------------------------------------------------------------

    def _start_asked(self, _event: events.StartAsked) -> list[Action]:
        if self.state == "stopping":
            self._start_again = True
            return []
        if self.state in {"starting", "running"}:
            return []
        return self._fresh_start()

    def _fresh_start(self) -> list[Action]:
        self._start_failures = self._short_lives = self._delays = 0
        return self._spawn()

    def _spawn(self) -> list[Action]:
        self.state = "starting"
        self.worker_address = ""
        self._registered_at_s = self._due_s = None
        self._start_again = False
        self._kill_reason = ""
        return [SpawnWorker()]

    def _stop_asked(self, event: events.StopAsked) -> list[Action]:
        self._start_again = False
        return self._stop(event.now_s + event.grace_s)

    def _restart_asked(self, event: events.RestartAsked) -> list[Action]:
        if not self.has_process:
            return self._fresh_start()
        self._start_again = True
        return self._stop(event.now_s + event.grace_s)

    def _stop(self, due_s: float) -> list[Action]:
        if self.state == "stopping":
            self._due_s = min(due_s, self._due_s if self._due_s is not None else due_s)
            return [WakeAt(self._due_s)]
        if not self.has_process:
            self.state = "stopped"
            self._due_s = None
            return []
        self.state = "stopping"
        self._due_s = due_s
        return [StopWorker(), WakeAt(due_s)]

    # -- what the worker does ----------------------------------------------------------

    def _worker_listened(self, event: events.WorkerListened) -> list[Action]:
        self.worker_address = event.address
        return []

    def _worker_registered(self, event: events.WorkerRegistered) -> list[Action]:
        self._has_registered = True
        self._start_failures = 0
        if self._registered_at_s is None:
            self._registered_at_s = event.now_s
        if self.state == "starting":
            self.state = "running"
        return []

    def _worker_exited(self, event: events.WorkerExited) -> list[Action]:
        if not self.has_process:
            return []
        reason = self._kill_reason or event.how
        self.last_exit = reason
        address, self.worker_address = self.worker_address, ""
        if self.state == "stopping":
            # A clean end was announced by the worker itself.
            clean = event.announced and event.exit_code == EXIT_OK
            told = [] if clean else self._told(address, reason, expected=True)
            if self._start_again:
                return told + self._fresh_start()
            self.state = "stopped"
            self._due_s = None
            return told
        return self._unasked_exit(event, address, reason)

    def _told(self, address: str, reason: str, expected: bool) -> list[Action]:
        return [ReportExit(address, reason, expected)] if address else []

    def _unasked_exit(self, event: events.WorkerExited, address: str, reason: str) -> list[Action]:
        if event.announced and event.exit_code in {EXIT_OK, EXIT_DEATH_TIMEOUT}:
            self.state = "stopped"
            return [EndNanny(reason, event.exit_code)]
        told = self._told(address, reason, expected=False)
        if event.exit_code == EXIT_FAILED and not self._has_registered:
            # Its first start, and it says itself what is wrong: another try would meet the same.
            return told + self._give_up(reason)
        self._count_death(event.now_s)
        if self._start_failures >= self.policy.start_failures:
            return told + self._give_up(
                f"{self._start_failures} workers in a row died before they had registered, the last one: {reason}"
            )
        if self._short_lives >= self.policy.short_lives:
            return told + self._give_up(
                f"{self._short_lives} workers in a row lived less than "
                f"{self.policy.good_life_s:g} s, the last one: {reason}"
            )
        return [*told, self._back_off(event.now_s)]

    def _count_death(self, now_s: float) -> None:
        if self._registered_at_s is None:
            self._start_failures += 1
        elif now_s - self._registered_at_s < self.policy.good_life_s:
            self._short_lives += 1
        else:
            self._short_lives = self._delays = 0

    def _back_off(self, now_s: float) -> Action:
        # The exponent is capped because 2.0 ** 2000 is an error.
        delay_s = self.policy.first_delay_s * 2.0 ** min(self._delays, 30)
        self._delays += 1
        self.state = "restarting"
        self._due_s = now_s + min(delay_s, self.policy.longest_delay_s)
        return WakeAt(self._due_s)

    def _give_up(self, reason: str) -> list[Action]:
        self.state = "given-up"
        self._due_s = None
        return [EndNanny(reason, EXIT_FAILED)]

    def _memory_measured(self, event: events.MemoryMeasured) -> list[Action]:
        limit = self.memory_limit
        alive = self.state in {"starting", "running"}
        if not limit or not alive or self._kill_reason:
            return []
        if event.used <= limit * self.policy.memory_fraction:
            return []
        self._kill_reason = (
            f"killed by its nanny because it used {format_memory(event.used)} of its {format_memory(limit)} limit"
        )
        return [KillWorker(self._kill_reason)]

    # -- time --------------------------------------------------------------------------

    def _time_passed(self, event: events.TimePassed) -> list[Action]:
        if self._due_s is None or event.now_s < self._due_s:
            return []
        self._due_s = None
        if self.state == "restarting":
            self.restarts += 1
            return self._spawn()
        if self.state == "stopping":
            return [KillWorker("it did not end in time after it was told to")]
        return []
