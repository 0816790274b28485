"""When to wake up, if the very moment does not matter."""

from __future__ import annotations

__all__ = ["on_the_second"]


def on_the_second(in_s: float, now_s: float) -> float:
    """Return the seconds to wait, about ``in_s``, so that the clock on the wall, now at ``now_s``, is at a full second.

    To be woken is what costs those who have nothing to do, above all in virtual machines, some of which take 10 ms of a
    core to wake up and fall asleep; all processes of a host that wake in the same moment pay that once.  Less than a
    second is left as it is.
    """
    return in_s if in_s < 1.0 else round(now_s + in_s) - now_s
