"""Clusters on batch systems: the command ``dlaunch`` and its Python twin.

>>> from launchers import Slurm                                 # doctest: +SKIP
>>> with Slurm(n=64, queue="main") as cluster:                  # doctest: +SKIP
...     client = Client(cluster)

The names below load their modules when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launchers.cluster import Cluster, Drmaa, Local, Pbs, Sge, Slurm, Ssh, Torque
    from launchers.errors import LauncherError

_HOMES = {
    "LauncherError": "errors",
    **dict.fromkeys(("Cluster", "Drmaa", "Local", "Pbs", "Sge", "Slurm", "Ssh", "Torque"), "cluster"),
}

__all__ = ["Cluster", "Drmaa", "LauncherError", "Local", "Pbs", "Sge", "Slurm", "Ssh", "Torque"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'launchers' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"launchers.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
