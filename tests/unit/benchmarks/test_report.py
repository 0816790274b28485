"""Results become a table: medians, spread, and which side is better."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.report import TITLES, render, render_file

RESULTS = {
    "command": "python -m benchmarks --against distributed",
    "when": "2026-01-02T03:04:05+00:00",
    "commit": "abc1234",
    "machine": {"cores": 2, "memory_bytes": 8 * 2**30, "system": "Linux", "python": "3.11.7"},
    "rounds": 3,
    "scale": 1,
    "subjects": {"dlaunch": {"version": "0.1"}, "distributed": {"version": "9"}},
    "figures": {
        "throughput": {"tasks/s": {"dlaunch": [30000, 10000, 20000], "distributed": [100, 200, 150]}},
        "latency": {"p99 ms": {"dlaunch": [2.0], "distributed": [8.0]}},
        "startup": {"idle CPU % of a core": {"dlaunch": [4.0], "distributed": []}},
    },
}


def test_medians_with_their_spread_and_the_ratio() -> None:
    lines = render(RESULTS).splitlines()
    assert lines[0] == "| case | figure | dlaunch 0.1 | distributed 9 | ratio |"
    expected = "| 10,000 independent no-op tasks | tasks/s | 20,000 (10,000 - 30,000) |"
    assert lines[2] == f"{expected} 150 (100 - 200) | 133 x |"


def test_where_less_is_better_the_ratio_says_how_much_less() -> None:
    assert render(RESULTS).splitlines()[3].endswith("| 2.00 | 8.00 | 4.00 x |")


def test_a_case_that_failed_is_said_to_have_failed() -> None:
    assert render(RESULTS).splitlines()[4].endswith("| 4.00 | failed |  |")


def test_every_case_has_a_title_at_every_scale() -> None:
    figures = {case: {"tasks/s": {"dlaunch": [1.0]}} for case in TITLES}
    for scale in (1.0, 0.1):
        results = {"scale": scale, "subjects": {"dlaunch": {"version": "1"}}, "figures": figures}
        assert render(results).count("| tasks/s | 1.00 |") == len(TITLES)


def test_a_file_says_how_its_figures_were_made(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    last = render_file(path).splitlines()[-1]
    assert last == (
        "Made by `python -m benchmarks --against distributed` on 2026-01-02 at commit abc1234: "
        "2 cores, 8 GiB, Linux, Python 3.11.7; medians of 3 rounds, the least and the most in brackets."
    )
