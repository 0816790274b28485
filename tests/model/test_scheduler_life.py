"""Random lives of the scheduler's machine.

``DLAUNCH_MODEL_LIVES`` and ``DLAUNCH_MODEL_SEED`` make it as many as one likes, from another seed.
"""

from __future__ import annotations

import os

import pytest

from tests.model.sim_cluster import SimCluster

LIVES = int(os.environ.get("DLAUNCH_MODEL_LIVES", "100"))
SEED = int(os.environ.get("DLAUNCH_MODEL_SEED", "1"))


@pytest.mark.timeout(0 if LIVES > 100 else 60)
@pytest.mark.parametrize("steps", [60, 300])
def test_every_wanted_key_comes_to_a_right_end(steps: int) -> None:
    for seed in range(SEED, SEED + LIVES):
        life = SimCluster(seed)
        try:
            life.live(steps)
        except Exception as error:
            raise AssertionError(f"the life of {steps} steps with seed {seed}: {error}") from error
