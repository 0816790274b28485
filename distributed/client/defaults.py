"""Which client is meant when none is named: the one made last that is still open."""

from __future__ import annotations

import threading
import weakref
from typing import Any

__all__ = [
    "after_fork",
    "default_owner",
    "forget_client",
    "live_clients",
    "owner_or_none",
    "remember_client",
]

_lock = threading.Lock()
_clients: list[weakref.ref[Any]] = []


def _others(client: Any) -> list[weakref.ref[Any]]:
    return [ref for ref in _clients if (found := ref()) is not None and found is not client]


def remember_client(client: Any) -> None:
    """Make ``client`` the default one."""
    global _clients
    with _lock:
        _clients = [*_others(client), weakref.ref(client)]


def forget_client(client: Any) -> None:
    """``client`` is closed: the one before it is the default again."""
    global _clients
    with _lock:
        _clients = _others(client)


def live_clients() -> list[Any]:
    """Return all open clients, the default one last."""
    return [client for ref in _clients if (client := ref()) is not None]


def after_fork() -> list[Any]:
    """In a forked child: return the parent's clients and begin anew (the lock may have been held by
    a lost thread).
    """
    global _clients, _lock
    clients = live_clients()
    _lock, _clients = threading.Lock(), []
    return clients


def owner_or_none() -> Any:
    """Return the default client, None if there is none."""
    clients = live_clients()
    return clients[-1] if clients else None


def default_owner() -> Any:
    """Return the default client.  Raises ValueError if no client is open."""
    client = owner_or_none()
    if client is None:
        raise ValueError("there is no client in this process; make one first: client = Client('host:port')")
    return client
