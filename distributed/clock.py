"""When to wake up, if the very moment does not matter."""

from __future__ import annotations

__all__ = ["on_the_second"]


def on_the_second(in_s: float, now_s: float) -> float:
    """Return the seconds to wait, about ``in_s``, so that the clock on the wall, now at ``now_s``, is at a full second.

    To be woken is what costs a process that has nothing to do: its memory has gone cold meanwhile.  What many others
    want of it in the same second, or many timers of its own, wakes it once.  Less than a second is left as it is.
    """
    return in_s if in_s < 1.0 else round(now_s + in_s) - now_s
