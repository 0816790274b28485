"""When to wake up."""

from __future__ import annotations

import pytest

from distributed.clock import on_the_second


@pytest.mark.parametrize("in_s", [1.0, 7.3, 10.0, 99.99])
@pytest.mark.parametrize("now_s", [0.0, 1000.001, 1000.4, 1000.6, 1000.999])
def test_it_is_a_full_second_of_the_clock_and_a_period_does_not_drift(in_s, now_s):
    found_s = on_the_second(in_s, now_s)
    assert (now_s + found_s) % 1.0 == pytest.approx(0.0, abs=1e-6) or (now_s + found_s) % 1.0 > 0.999999
    assert abs(found_s - in_s) <= 0.5
    assert on_the_second(0.02, now_s) == 0.02
