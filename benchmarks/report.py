"""Results as a file, and as a Markdown table."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

__all__ = ["TITLES", "origin", "render", "render_file"]

# Lower is better for these; for the rest higher is.
LOWER = ("ms", " s", "%", "MB per worker")
TITLES = {
    "throughput": "{tasks:,} independent no-op tasks",
    "latency": "submit to result of one no-op",
    "tree": "tree reduction of {leaves:,} leaves",
    "chain": "chain of {links:,} tasks",
    "all_to_all": "all-to-all, {parts} x {parts}",
    "transfer": "array of {megabytes:g} MB",
    "startup": "{workers} workers by one command",
}


def render_file(path: Path) -> str:
    """Return the table of a file of results, and below it how the figures were made."""
    results = json.loads(path.read_text())
    return f"{render(results)}\n{origin(results)}\n"


def origin(results: dict[str, Any]) -> str:
    """Return the sentence without which figures are worth nothing."""
    machine = results["machine"]
    commit = f" at commit {results['commit']}" if results["commit"] else ""
    rounds = f"medians of {results['rounds']} rounds, the least and the most in brackets"
    return (
        f"Made by `{results['command']}` on {results['when'][:10]}{commit}: {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}, Python {machine['python']}; "
        f"{rounds if results['rounds'] > 1 else 'one round'}."
    )


def render(results: dict[str, Any]) -> str:
    """Return results as a Markdown table: medians, with the least and the most in brackets."""
    names = list(results["subjects"])
    versions = [f"{name} {results['subjects'][name]['version']}" for name in names]
    ratio = ["ratio"] if len(names) == 2 else []
    lines = [_row(["case", "figure", *versions, *ratio]), _row(["---"] * (2 + len(names + ratio)))]
    for case, figures in results["figures"].items():
        for figure, samples in figures.items():
            cells = [_cell(samples.get(name)) for name in names]
            more = [_ratio(figure, samples, names)] if ratio else []
            lines.append(_row([_title(case, results["scale"]), figure, *cells, *more]))
    return "\n".join(lines) + "\n"


def _title(case: str, scale: float) -> str:
    return TITLES[case].format(
        tasks=int(10_000 * scale),
        leaves=4096 if scale >= 1 else 128,
        links=int(1_000 * scale),
        parts=100 if scale >= 1 else 20,
        megabytes=256 * scale,
        workers=int(64 * scale),
    )


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _cell(samples: list[float] | None) -> str:
    if not samples:
        return "failed"
    spread = f" ({_number(min(samples))} - {_number(max(samples))})" if len(samples) > 1 else ""
    return _number(statistics.median(samples)) + spread


def _ratio(figure: str, samples: dict[str, list[float]], names: list[str]) -> str:
    if not all(samples.get(name) for name in names):
        return ""
    first, second = (statistics.median(samples[name]) for name in names)
    if figure.endswith(LOWER):
        first, second = second, first
    return f"{_number(first / second)} x" if second else ""
