"""Results as a file, and as a Markdown table."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["CASES", "ROWS", "Row", "number", "origin", "render", "render_curves", "render_file", "sizes", "title_of"]


class Row(NamedTuple):
    """One row of the table: a figure of a case.  ``share`` divides it by another subject's ``tasks/s`` or ``ms``."""

    case: str
    figure: str
    title: str
    unit: str
    lower: bool = False
    share: str = ""


_THROUGHPUT = "{tasks:,} independent no-op tasks"
_SHORT = "share of the time that two workers are in short tasks"
_LATENCY = "submit to result of one no-op"
_CPU = "processor time per no-op task"
_ARRAY = "array of {megabytes:g} MB"
_STARTUP = "{workers} workers by one command"
_HELD = "memory of the scheduler per task of {held:,}"
_CROWD = "{crowd:,} simulated workers instead of 10"

ROWS = (
    Row("throughput", "tasks/s", _THROUGHPUT, "tasks/s"),
    Row("throughput", "tasks/s", _THROUGHPUT, "of the relay's", share="relay"),
    Row("throughput", "tasks/s", _THROUGHPUT, "of the relay's in blocks", share="relay-blocks"),
    Row("throughput", "tasks/s in batches of 100", "the relay in batches of 100", "tasks/s"),
    Row("throughput", "tasks/s in batches of 10", "the relay in batches of 10", "tasks/s"),
    Row("throughput", "tasks/s in batches of 1", "the relay one by one", "tasks/s"),
    Row("throughput", "client CPU us per task", _CPU, "client, us", lower=True),
    Row("throughput", "scheduler CPU us per task", _CPU, "scheduler, us", lower=True),
    Row("throughput", "workers CPU us per task", _CPU, "workers, us", lower=True),
    Row("short", "0.1 ms %", _SHORT, "of 0.1 ms, %"),
    Row("short", "1 ms %", _SHORT, "of 1 ms, %"),
    Row("chunks", "calls/s", "{many:,} calls in chunks of 1,000", "calls/s"),
    Row("latency", "median ms", _LATENCY, "median ms", lower=True),
    Row("latency", "median ms", _LATENCY, "times the relay's", lower=True, share="relay"),
    Row("latency", "p99 ms", _LATENCY, "p99 ms", lower=True),
    Row("latency", "after a rest ms", "a round trip after half a second of rest", "median ms", lower=True),
    Row("tree", "tasks/s", "tree reduction of {leaves:,} leaves", "tasks/s"),
    Row("chain", "tasks/s", "chain of {links:,} tasks", "tasks/s"),
    Row("all_to_all", "tasks/s", "all-to-all, {parts} x {parts}", "tasks/s"),
    Row("all_to_all", "first tasks/s", "all-to-all, {parts} x {parts}", "the first one, tasks/s"),
    Row("transfer", "worker to worker GB/s", _ARRAY, "worker to worker GB/s"),
    Row("transfer", "client to worker GB/s", _ARRAY, "client to worker GB/s"),
    Row("transfer", "worker to client GB/s", _ARRAY, "worker to client GB/s"),
    Row("transfer", "worker to client, again GB/s", _ARRAY, "the same again GB/s"),
    Row("transfer", "loopback TCP GB/s", _ARRAY, "loopback TCP GB/s"),
    Row("transfer", "memory copy GB/s", _ARRAY, "memory copy GB/s"),
    Row("startup", "registered s", _STARTUP, "registered s", lower=True),
    Row("startup", "all have run s", _STARTUP, "all have run s", lower=True),
    Row("startup", "PSS MiB per worker", _STARTUP, "PSS MiB per worker", lower=True),
    Row("startup", "idle CPU % of a core", _STARTUP, "idle CPU % of a core", lower=True),
    Row("startup", "fork and exec of true ms", "start of one process", "`true`, ms", lower=True),
    Row("startup", "bare Python start ms", "start of one process", "bare Python, ms", lower=True),
    Row("held", "finished bytes", _HELD, "finished, bytes", lower=True),
    Row("held", "pending bytes", _HELD, "pending, bytes", lower=True),
    Row("growth", "tasks/s of many", "{many:,} independent no-op tasks", "tasks/s"),
    Row("growth", "many over few", "{many:,} independent no-op tasks", "of the rate of {tasks:,}"),
    Row("simulated", "tasks/s with many", _CROWD, "tasks/s"),
    Row("simulated", "many over few", _CROWD, "of the rate with 10"),
    Row("simulated", "many scheduler CPU us per task", _CROWD, "scheduler CPU us per task", lower=True),
    Row("simulated", "many registered s", _CROWD, "all registered s", lower=True),
)
HEADLINES = frozenset(
    {
        ("throughput", "tasks/s"),
        ("latency", "median ms"),
        ("tree", "tasks/s"),
        ("chain", "tasks/s"),
        ("all_to_all", "tasks/s"),
        ("transfer", "worker to worker GB/s"),
        ("startup", "all have run s"),
        ("startup", "PSS MiB per worker"),
        ("startup", "idle CPU % of a core"),
        ("held", "pending bytes"),
    }
)
CASES = tuple(dict.fromkeys(row.case for row in ROWS))


def render_file(path: Path, headlines: bool = False) -> str:
    """Return the table of a file of results, or its ``headlines``, and below it how the figures were made."""
    results = json.loads(path.read_text())
    table = render_curves(results) if "curves" in results else render(results, headlines)
    return f"{table}\n{origin(results)}\n"


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


def render(results: dict[str, Any], headlines: bool = False) -> str:
    """Return results as a Markdown table: medians, with the least and the most in brackets."""
    names = [name for name in results["subjects"] if not (headlines and name in ("relay", "relay-blocks", "floors"))]
    versions = [f"{name} {results['subjects'][name]['version']}".strip() for name in names]
    lines = [_line(["case", "figure", *versions]), _line(["---"] * (2 + len(names)))]
    wanted = [row for row in ROWS if row.case in results["figures"] or _failures(results, row.case)]
    if headlines:
        wanted = [row for row in wanted if (row.case, row.figure) in HEADLINES and not row.share]
    for row in wanted:
        cells = [_cell(results, row, name) for name in names]
        if set(cells) != {"-"}:
            unit = row.unit.format(**sizes(results["scale"]))
            lines.append(_line([title_of(row, results["scale"]), unit, *cells]))
    return "\n".join(lines) + "\n"


def render_curves(results: dict[str, Any]) -> str:
    """Return curves of growth as a Markdown table: a row for each, its sizes and figures in turn."""
    lines = [_line(["what", "figure", "by", "from the smallest size to the largest"]), _line(["---"] * 4)]
    for curve in results["curves"]:
        for points in curve["lines"].values():
            cells = "; ".join(f"{size:,}: {number(value)}" for size, value in points)
            lines.append(_line([curve["title"], curve["unit"], curve["size"], cells]))
    return "\n".join(lines) + "\n"


def sizes(scale: float) -> dict[str, Any]:
    """Return the sizes of the cases at a scale."""
    return {
        "tasks": int(10_000 * scale),
        "many": int(1_000_000 * scale),
        "held": int(1_000_000 * scale),
        "leaves": 4096 if scale >= 1 else 128,
        "links": int(1_000 * scale),
        "parts": 100 if scale >= 1 else 20,
        "megabytes": 256 * scale,
        "workers": int(64 * scale),
        "crowd": int(10_000 * scale),
    }


def title_of(row: Row, scale: float) -> str:
    """Return what a row is about, with the sizes of this run."""
    return row.title.format(**sizes(scale))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def number(value: float) -> str:
    """Return a figure with as many digits as it is worth."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _failures(results: dict[str, Any], case: str) -> dict[str, str]:
    return {f["subject"]: f["failure"] for f in results["failures"] if f["case"] in (case, "")}


def _cell(results: dict[str, Any], row: Row, name: str) -> str:
    """The figure, why there is none, or a dash for what this subject cannot do."""
    samples = results["figures"].get(row.case, {}).get(row.figure, {})
    if not samples.get(name):
        failure = _failures(results, row.case).get(name)
        # A failure counts for the figures of the case that a subject of its kind has.
        return failure if failure and (set(samples) & {"dlaunch"} or not samples) and not row.share else "-"
    if row.share:
        if name == row.share or not samples.get(row.share):
            return "-"
        return number(statistics.median(samples[name]) / statistics.median(samples[row.share]))
    found = samples[name]
    spread = f" ({number(min(found))} - {number(max(found))})" if len(found) > 1 else ""
    return number(statistics.median(found)) + spread + _fewer(results, row, name)


def _fewer(results: dict[str, Any], row: Row, name: str) -> str:
    """Say so if a subject was not made to hold as many tasks as the row says."""
    tasks = results["figures"].get("held", {}).get("tasks", {}).get(name)
    if row.case != "held" or not tasks or tasks[0] == sizes(results["scale"])["held"]:
        return ""
    return f", of {tasks[0]:,.0f}"
