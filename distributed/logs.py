"""Logging of the commands: standard library, to stderr, one line per event.

Only commands call this; a library never configures logging for its user.
"""

from __future__ import annotations

import logging
import os
import sys

__all__ = ["FORMAT", "configure"]

FORMAT = "%(asctime)s %(name)s - %(levelname)s - %(message)s"


def configure(level: str | None = None) -> None:
    """Send log lines to stderr from ``level`` up (default: ``$DLAUNCH_LOG_LEVEL``, else INFO).

    Raises ValueError for an unknown level.
    """
    wanted = (level or os.environ.get("DLAUNCH_LOG_LEVEL") or "INFO").upper()
    if not isinstance(logging.getLevelName(wanted), int):
        raise ValueError(f"{wanted!r} is not a log level; use DEBUG, INFO, WARNING or ERROR")
    logging.basicConfig(level=wanted, format=FORMAT, stream=sys.stderr, force=True)
    for name in ("asyncio", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL if name == "tornado" else logging.WARNING)
