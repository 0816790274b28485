"""How the calls of a map are cut."""

from __future__ import annotations

from itertools import islice

import pytest

from distributed.client.mapping import numbers_at_once


@pytest.mark.parametrize(
    ("batch_size", "numbers"),
    [(None, [500, 1000, 2000, 2000]), (1, [500, 1000, 2000, 2000]), (10, [50, 100, 200, 200]), (1000, [8, 8, 8, 8])],
)
def test_the_first_tasks_go_soon_and_the_later_ones_together(batch_size, numbers):
    assert list(islice(numbers_at_once(batch_size), 4)) == numbers
