"""The client: submit functions, hold futures, gather results."""

from __future__ import annotations

from typing import Any

from distributed.client.client import Client, CompatibleExecutor, Executor
from distributed.client.defaults import default_owner
from distributed.client.future import Future
from distributed.client.progressbar import progress
from distributed.client.waiting import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    as_completed,
    wait,
)

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Client",
    "CompatibleExecutor",
    "Executor",
    "Future",
    "as_completed",
    "default_client",
    "default_executor",
    "progress",
    "wait",
]


def default_client(client: Any = None) -> Client:
    """Return ``client`` if it is one, else the client made last that is still open.

    Raises ValueError if there is none.
    """
    found: Client = default_owner() if client is None else client
    return found


default_executor = default_client
