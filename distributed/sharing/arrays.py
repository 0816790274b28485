"""Arrays that are made where others can see them."""

from __future__ import annotations

import math
from typing import Any

from distributed.errors import SharedMemoryError
from distributed.sharing.exchange import THRESHOLD, chosen_mode
from distributed.sharing.segments import make_room

__all__ = ["shared_empty"]


def shared_empty(shape: int | tuple[int, ...], dtype: Any = float) -> Any:
    """Return a NumPy array of ``shape`` and ``dtype`` to fill, in shared memory if there is some.

    A task that returns it (or a client that scatters it) hands it to processes of this host without
    a copy, from the first time on.  They see it as it is: do not write to it after that.  Arrays
    below 1 MiB, and those for which there is no shared memory, are ordinary ones.

    Raises ValueError for a ``dtype`` of Python objects, ImportError without NumPy.
    """
    import numpy as np  # an array is asked for: it is there

    kind = np.dtype(dtype)
    if kind.hasobject:
        raise ValueError(f"an array of {kind} holds Python objects, which cannot be shared")
    count = math.prod(shape) if isinstance(shape, tuple) else int(shape)
    nbytes = count * kind.itemsize
    if nbytes < THRESHOLD or chosen_mode(None) == "off":
        return np.empty(shape, kind)
    try:
        segment = make_room(nbytes)
    except SharedMemoryError:
        return np.empty(shape, kind)
    return np.frombuffer(segment, kind, count).reshape(shape)
