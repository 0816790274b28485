"""When the scheduler wants to hear from workers, and how long it bears their silence.

A worker whose process or host ends is noticed by its connection, which the system closes or resets; a host that has
vanished without a word, or a network that was cut, by the system's own probes of the connection (``comm.py``).  What is
left to notice is a process that is stuck while its host answers the probes: it says nothing any more.  So each worker
says something once in a while, a heartbeat, whatever else it does; and who has said nothing for ``SILENCE_S``
is given up.

What nothing changes in should cost nothing, however many they are: all workers together say about ``BEATS_PER_S``
heartbeats a second, so each of many says fewer.  ``SILENCE_S`` holds for all of them, and has room for three.
"""

from __future__ import annotations

from typing import Final

__all__ = ["HEARTBEAT_S", "SILENCE_S", "heartbeat_s", "is_outdated", "is_stuck", "may_live"]

HEARTBEAT_S: Final = 10.0
"""Between the heartbeats of one of few workers."""
BEATS_PER_S: Final = 100.0
SILENCE_S: Final = 300.0
"""A worker that says nothing for so long while its connection stands is given up: its process is stuck."""
_LONGEST_S: Final = SILENCE_S / 3
_OUTDATED: Final = 1.5


def heartbeat_s(workers: int) -> float:
    """Return the seconds between heartbeats of each of so many workers."""
    return min(max(HEARTBEAT_S, workers / BEATS_PER_S), _LONGEST_S)


def is_outdated(told_s: float, workers: int) -> bool:
    """Whether a worker that was told to send a heartbeat every ``told_s`` should hear of another period now."""
    wanted_s = heartbeat_s(workers)
    return not wanted_s / _OUTDATED <= told_s <= wanted_s * _OUTDATED


def is_stuck(silent_s: float) -> bool:
    """Whether a worker that has been silent for so long is given up."""
    return silent_s > SILENCE_S


def may_live(silent_s: float, told_s: float) -> bool:
    """Whether a worker that does not answer now, and was to send a heartbeat every ``told_s``, may only be busy."""
    return silent_s < told_s + 2 * HEARTBEAT_S
