"""What the benchmark tasks do.  The workers of every subject import this module by its name."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np


def increment(number: int) -> int:
    """The no-op of these benchmarks: its result shows that it ran with the right argument."""
    return number + 1


def work_100_us(number: int) -> int:
    """A short task that keeps its worker busy."""
    return _work(number, 1e-4)


def work_1_ms(number: int) -> int:
    """One ten times as long."""
    return _work(number, 1e-3)


def _work(number: int, duration_s: float) -> int:
    end = time.perf_counter() + duration_s
    while time.perf_counter() < end:
        pass
    return number + 1


def add(left: int, right: int) -> int:
    """One node of a tree reduction."""
    return left + right


def total(*numbers: int) -> int:
    """One consumer of an all-to-all step."""
    return sum(numbers)


def make_array(nbytes: int, seed: int) -> np.ndarray:
    """Return an array of ``nbytes`` whose checksum tells whether it arrived whole."""
    return np.arange(seed, seed + nbytes // 8, dtype=np.int64)


def checksum(array: np.ndarray) -> int:
    """Return a number that depends on both ends and the length; cheap beside moving the array."""
    return int(array[0]) + int(array[-1]) + array.nbytes


def hold(folder: str) -> int:
    """Say that this worker is busy, and be so until the folder has a file ``go``."""
    Path(folder, str(os.getpid())).touch()
    while not Path(folder, "go").exists():
        time.sleep(0.01)
    return os.getpid()
