"""Where a running task is."""

from __future__ import annotations

import pytest

from distributed.worker import get_task_key, get_worker
from distributed.worker.context import here


def test_outside_of_a_task_there_is_no_worker_and_no_key():
    with pytest.raises(ValueError, match="inside a task"):
        get_worker()
    with pytest.raises(ValueError, match="inside a task"):
        get_task_key()


def test_inside_of_a_task_both_are_known(monkeypatch):
    monkeypatch.setattr(here, "worker", "the worker")
    monkeypatch.setattr(here, "key", "x")
    assert (get_worker(), get_task_key()) == ("the worker", "x")
