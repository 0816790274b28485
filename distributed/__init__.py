"""Task clusters: Scheduler, Worker, Nanny and Client on one daemon core.

The names below load their modules when first used, so that ``import distributed`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed.client import (
        Client,
        CompatibleExecutor,
        Executor,
        Future,
        as_completed,
        default_client,
        default_executor,
        progress,
        wait,
    )
    from distributed.errors import CancelledError, DistributedError, KilledWorker
    from distributed.local import LocalCluster
    from distributed.nanny import Nanny
    from distributed.pool import rpc
    from distributed.scheduler import Scheduler
    from distributed.sharing import shared_empty
    from distributed.worker import Worker, get_worker

__version__ = "0.1.0"

_HOMES = {
    "CancelledError": "errors",
    "Client": "client",
    "CompatibleExecutor": "client",
    "DistributedError": "errors",
    "Executor": "client",
    "Future": "client",
    "KilledWorker": "errors",
    "LocalCluster": "local",
    "Nanny": "nanny",
    "Scheduler": "scheduler",
    "Worker": "worker",
    "as_completed": "client",
    "default_client": "client",
    "default_executor": "client",
    "get_worker": "worker",
    "progress": "client",
    "rpc": "pool",
    "shared_empty": "sharing",
    "wait": "client",
}

__all__ = [
    "CancelledError",
    "Client",
    "CompatibleExecutor",
    "DistributedError",
    "Executor",
    "Future",
    "KilledWorker",
    "LocalCluster",
    "Nanny",
    "Scheduler",
    "Worker",
    "as_completed",
    "default_client",
    "default_executor",
    "get_worker",
    "progress",
    "rpc",
    "shared_empty",
    "wait",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'distributed' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"distributed.{_HOMES[name]}"), name)
    except ImportError as error:
        # Another package of our name may have written over our files.
        if problem := importlib.import_module("distributed.coexistence").conflict():
            raise ImportError(problem) from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
