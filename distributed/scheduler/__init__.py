"""The scheduler: a pure machine that decides (``machine.py`` and what it uses) and the daemon around it."""

from __future__ import annotations

from distributed.scheduler.daemon import Scheduler

__all__ = ["Scheduler"]
