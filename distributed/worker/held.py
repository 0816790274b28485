"""One result or copy that a worker holds."""

from __future__ import annotations

from typing import Any

import msgspec

from distributed.payloads import Payload

__all__ = ["Held"]


class Held(msgspec.Struct, eq=False, gc=False):
    """A value, its size in bytes, and the run that made it, 0 if it came from elsewhere.

    ``exported``: the payload that keeps a copy of the value in shared memory, which others on this host know of.
    All of it goes with the record, so a key costs one entry in one table.
    """

    value: Any
    nbytes: int
    run: int = 0
    exported: Payload | None = None
