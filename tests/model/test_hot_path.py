"""What a task costs client, scheduler and worker, in bytecode instructions: repeatable, unlike time.

After a change that is worth its price: ``python benchmarks/hot_path.py --record``.
"""

from __future__ import annotations

import json

import pytest

from benchmarks.hot_path import JOBS, RECORD, count_job, version

MOST = 1.10
"""Times the recorded number."""
RECORDED = json.loads(RECORD.read_text()).get(version(), {})


@pytest.mark.skipif(not RECORDED, reason=f"no counts are recorded for Python {version()}, whose bytecode is its own")
@pytest.mark.parametrize("job", JOBS)
def test_no_hot_path_costs_more_than_recorded(job: str) -> None:
    counts, recorded = count_job(job), RECORDED[job]
    dearer = {role: (recorded[role], number) for role, number in counts.items() if number > MOST * recorded[role]}
    assert not dearer, f"{job}: (recorded, now) per task of {dearer}: python benchmarks/hot_path.py --record if it must"


def test_counts_are_repeatable() -> None:
    assert count_job("map") == count_job("map")
