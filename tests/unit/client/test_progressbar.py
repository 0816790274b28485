import io

import pytest

from distributed.client.progressbar import draw_bar, progress


@pytest.mark.parametrize(
    ("done", "total", "elapsed_s", "line"),
    [
        (4, 10, 1.7, "[########            ] | 40% Completed |  1.7s"),
        (0, 3, 0.04, "[                    ] | 0% Completed |  0.0s"),
        (3, 3, 12.3, "[####################] | 100% Completed | 12.3s"),
        (0, 0, 0.0, "[####################] | 100% Completed |  0.0s"),
        (1, 2, 125.0, "[##########          ] | 50% Completed | 2min  5.0s"),
        (999, 1000, 1.0, "[################### ] | 99% Completed |  1.0s"),
    ],
)
def test_the_bar_says_how_far_things_are(done, total, elapsed_s, line):
    assert draw_bar(done, total, elapsed_s, 20) == line


def test_nothing_to_wait_for_is_done():
    out = io.StringIO()
    progress(file=out)
    assert out.getvalue().endswith("100% Completed |  0.0s\n")
