"""Results become a table: medians, spread, and who could not do what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.report import CASES, ROWS, render, render_file

NAMES = ("dlaunch", "distributed", "relay")
RESULTS: dict[str, Any] = {
    "command": "python -m benchmarks --against distributed --against relay",
    "when": "2026-01-02T03:04:05+00:00",
    "commit": "abc1234",
    "machine": {"cores": 2, "memory_bytes": 8 * 2**30, "system": "Linux", "python": "3.11.7"},
    "rounds": 3,
    "scale": 1,
    "subjects": {"dlaunch": {"version": "0.1"}, "distributed": {"version": "9"}, "relay": {"version": ""}},
    "failures": [
        {"subject": "distributed", "case": "growth", "failure": "> 40 s"},
        {"subject": "distributed", "case": "latency", "failure": "failed"},
    ],
    "figures": {
        "throughput": {
            "tasks/s": {"dlaunch": [30000, 10000, 20000], "distributed": [100, 200, 150], "relay": [80000]},
            "tasks/s in batches of 10": {"relay": [9000]},
        },
        "latency": {"p99 ms": {"dlaunch": [2.0]}},
        "held": {
            "pending bytes": {"dlaunch": [300], "distributed": [4000]},
            "tasks": {"dlaunch": [1e6], "distributed": [1e4]},
        },
        "growth": {"tasks/s of many": {"dlaunch": [70000]}},
    },
}


def cells(case: str, unit: str) -> list[str]:
    """The cells of the one row with this beginning and unit."""
    (line,) = [line for line in render(RESULTS).splitlines() if line.startswith(f"| {case} | {unit} |")]
    return [cell.strip() for cell in line.split("|")[3:-1]]


def test_medians_with_their_spread() -> None:
    assert render(RESULTS).splitlines()[0] == "| case | figure | dlaunch 0.1 | distributed 9 | relay |"
    assert cells("10,000 independent no-op tasks", "tasks/s") == [
        "20,000 (10,000 - 30,000)",
        "150 (100 - 200)",
        "80,000",
    ]


def test_the_share_of_the_relay() -> None:
    assert cells("10,000 independent no-op tasks", "of the relay's") == ["0.25", "0.00", "-"]


def test_what_failed_or_ran_out_of_time_is_said_to_have() -> None:
    assert cells("submit to result of one no-op", "p99 ms") == ["2.00", "failed", "-"]
    assert cells("1,000,000 independent no-op tasks", "tasks/s") == ["70,000", "> 40 s", "-"]


def test_a_row_that_only_one_kind_of_subject_has() -> None:
    assert cells("the relay in batches of 10", "tasks/s") == ["-", "-", "9,000"]


def test_a_subject_that_held_fewer_tasks_is_shown_so() -> None:
    assert cells("memory of the scheduler per task of 1,000,000", "pending, bytes") == ["300", "4,000, of 10,000", "-"]


def test_every_row_is_rendered_at_every_scale() -> None:
    figures: dict[str, Any] = {case: {} for case in CASES}
    for row in ROWS:
        figures[row.case][row.figure] = {"dlaunch": [1.0], "relay": [1.0], "relay-blocks": [1.0]}
    for scale in (1.0, 0.1):
        subjects = {"dlaunch": {"version": "1"}, "relay": {"version": ""}, "relay-blocks": {"version": ""}}
        results = {"scale": scale, "subjects": subjects, "figures": figures, "failures": []}
        assert len(render(results).splitlines()) == len(ROWS) + 2


def test_headlines_are_few_rows_without_the_floors() -> None:
    assert [line.split(" | ")[:2] for line in render(RESULTS, headlines=True).splitlines()] == [
        ["| case", "figure"],
        ["| ---", "---"],
        ["| 10,000 independent no-op tasks", "tasks/s"],
        ["| submit to result of one no-op", "median ms"],
        ["| memory of the scheduler per task of 1,000,000", "pending, bytes"],
    ]
    assert render(RESULTS, headlines=True).splitlines()[0] == "| case | figure | dlaunch 0.1 | distributed 9 |"


def test_curves_are_a_row_each_from_small_to_large(tmp_path: Path) -> None:
    points = [[10, 123456.0], [10000, 7.891]]
    curve = {"title": "no-ops", "unit": "tasks/s", "size": "workers", "lines": {"tasks": points}}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**RESULTS, "curves": [curve]}))
    assert "| no-ops | tasks/s | workers | 10: 123,456; 10,000: 7.89 |" in render_file(path).splitlines()


def test_a_file_says_how_its_figures_were_made(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    last = render_file(path).splitlines()[-1]
    assert last == (
        "Made by `python -m benchmarks --against distributed --against relay` on 2026-01-02 at commit abc1234: "
        "2 cores, 8 GiB, Linux, Python 3.11.7; medians of 3 rounds, the least and the most in brackets."
    )
