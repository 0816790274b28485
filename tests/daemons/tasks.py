"""Functions to be run on workers: many of them import this, so it imports no test framework."""

from __future__ import annotations

import time


def inc(x):
    return x + 1


def nap(x, seconds=0.02):
    time.sleep(seconds)
    return x
