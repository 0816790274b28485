"""Every event is handled, every message of a scheduler understood."""

from __future__ import annotations

from typing import get_args

from distributed.worker import events
from distributed.worker.machine import WorkerMachine


def test_the_machine_handles_every_event():
    handled = set(WorkerMachine("10.0.0.1:1")._on_event)
    assert handled == set(get_args(events.Event))
