"""``distributed.cluster.Cluster``: a network over SSH from Python, as in the founding time.

SSH is the launchers' business, and nothing here imports them: whoever provides the class says so by an entry point.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

__all__ = ["GROUP", "Cluster"]  # noqa: F822 - see __getattr__

GROUP = "distributed.cluster"


def __getattr__(name: str) -> Any:
    if name != "Cluster":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for point in entry_points(group=GROUP, name=name):
        globals()[name] = found = point.load()
        return found
    raise ImportError(
        f"nothing installed here provides {name}: install dlaunch (python -m pip install -e . in a checkout), so that "
        f"its entry point in the group {GROUP!r} is known",
        name=__name__,
    )
