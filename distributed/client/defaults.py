"""Which client is meant when none is named: the one made last that is still open."""

from __future__ import annotations

import threading
import weakref
from typing import Any

__all__ = ["forget_client", "live_clients", "owner_or_none", "default_owner", "remember_client"]

_lock = threading.RLock()
_clients: list[weakref.ref[Any]] = []


def remember_client(client: Any) -> None:
    """Make ``client`` the default one."""
    with _lock:
        forget_client(client)
        _clients.append(weakref.ref(client))


def forget_client(client: Any) -> None:
    """``client`` is closed: the one before it is the default again."""
    with _lock:
        _clients[:] = [ref for ref in _clients if ref() is not None and ref() is not client]


def live_clients() -> list[Any]:
    """Return all open clients, the default one last."""
    with _lock:
        return [client for ref in _clients if (client := ref()) is not None]


def owner_or_none() -> Any:
    """Return the default client, None if there is none."""
    clients = live_clients()
    return clients[-1] if clients else None


def default_owner() -> Any:
    """Return the default client.  Raises ValueError if no client is open."""
    client = owner_or_none()
    if client is None:
        raise ValueError(
            "there is no client in this process; make one first: client = Client('host:port')"
        )
    return client
