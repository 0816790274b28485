"""Draw a file of results: bars of each subject, or curves of growth.  Runs in an environment that has matplotlib.

python bench_plot.py RESULTS.json PICTURE.svg
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
from benchmarks.report import ROWS, number, sizes, title_of

COLOURS = {
    "dlaunch": "#1f6f8b",
    "distributed": "#e07a3f",
    "ray": "#7a5ea8",
    "pool": "#6b8f3a",
    "relay": "#999999",
    "relay-blocks": "#bbbbbb",
    "floors": "#cccccc",
}
COLUMNS = 4


def bars(results: dict[str, Any]) -> None:
    """One small picture per row of the table, a bar per subject, on a logarithmic axis."""
    least = min(2, len(results["subjects"]))  # a row of one bar compares nothing
    given = [(row, results["figures"].get(row.case, {}).get(row.figure, {})) for row in ROWS if not row.share]
    rows = [row for row, samples in given if len(samples) >= least]
    lines = -(-len(rows) // COLUMNS)
    figure, axes = plt.subplots(lines, COLUMNS, figsize=(3.6 * COLUMNS, 1.9 * lines), squeeze=False)
    for axis, row in zip(axes.flat, rows, strict=False):
        samples = results["figures"][row.case][row.figure]
        names = [name for name in results["subjects"] if samples.get(name)]
        values = [statistics.median(samples[name]) for name in names]
        places = list(range(len(names)))[::-1]
        axis.barh(places, [max(value, 1e-3) for value in values], color=[COLOURS.get(n, "black") for n in names])
        axis.set_yticks(places, names, fontsize=8)
        axis.set_xscale("log")
        axis.set_xlim(max(min(values), 1e-3) / 3, max(values) * 12)
        axis.tick_params(axis="x", labelsize=7)
        for place, value in zip(places, values, strict=True):
            axis.text(max(value, 1e-3) * 1.1, place, number(value), va="center", fontsize=8)
        better = "less is better" if row.lower else "more is better"
        title = f"{title_of(row, results['scale'])}\n{row.unit.format(**sizes(results['scale']))} ({better})"
        axis.set_title(title, fontsize=8, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(rows) :]:
        axis.set_axis_off()
    figure.tight_layout()


def curves(results: dict[str, Any]) -> None:
    """One picture per curve: points of (size, value)."""
    found = results["curves"]
    lines = -(-len(found) // 2)
    figure, axes = plt.subplots(lines, 2, figsize=(11, 3.2 * lines), squeeze=False)
    for axis, curve in zip(axes.flat, found, strict=False):
        for name, points in curve["lines"].items():
            axis.plot(*zip(*points, strict=True), marker="o", label=name)
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.set_xlabel(curve["size"], fontsize=8)
        axis.set_title(f"{curve['title']}, {curve['unit']}", fontsize=9, loc="left")
        if len(curve["lines"]) > 1:
            axis.legend(fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(found) :]:
        axis.set_axis_off()
    figure.tight_layout()


def main(source: str, picture: str) -> None:
    """Draw; the same results give the same file."""
    mpl.rcParams["svg.hashsalt"] = "benchmarks"
    results = json.loads(Path(source).read_text())
    (curves if "curves" in results else bars)(results)
    plt.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
