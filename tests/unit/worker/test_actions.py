"""Every action can be carried out."""

from __future__ import annotations

from typing import get_args

from distributed.worker import actions
from distributed.worker.daemon import Worker


def test_the_daemon_performs_every_action():
    worker = Worker("127.0.0.1", 1, ncores=1)
    assert set(worker._perform) == set(get_args(actions.Action))
