"""Measure this checkout, and others beside it, on this machine.

    python -m benchmarks                              # this checkout alone
    python -m benchmarks --against all                # beside all others, in turns, three rounds of each
    python -m benchmarks throughput latency --against relay --against ray --scale 0.1
    python -m benchmarks --render benchmarks/results/NAME.json

All traffic stays on 127.0.0.1; every case has a time limit, every run ends by itself.  A subject that fails a case or
runs out of time is shown so.  Exit code 1 if this checkout failed one or gave a wrong result.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import CASES, render, render_file
from benchmarks.subjects import BUILT_IN, ROOT, Subject, environment_of, subject

PROGRAMS = Path(__file__).resolve().parent / "programs"
RESULTS = Path(__file__).resolve().parent / "results"
ROUND_TIMEOUT_S = 900
VENVS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dlaunch-bench"
OURS = BUILT_IN[0]
ALL = ("distributed", "ray", "pool", "relay", "relay-blocks", "floors")


def main() -> int:
    """Run what the arguments say."""
    arguments = _parse()
    if arguments.render:
        sys.stdout.write(render_file(arguments.render))
        return 0
    subjects = [subject(name, arguments.venvs) for name in arguments.subjects]
    results = describe(arguments, [found.name for found in subjects])
    _measure(arguments, subjects, results)
    keep(results, arguments.output, arguments.venvs)
    print(f"\n{render(results)}")
    return 1 if any(failure["subject"] == OURS for failure in results["failures"]) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} (default: all)")
    add("--against", action="append", default=[], metavar="NAME", help=f"all, or of {', '.join(ALL)}; NAME==VERSION")
    add("--only-others", action="store_true", help="leave this checkout out")
    add("--rounds", type=int, default=3, help="rounds of each subject, in turns (3)")
    add("--workers", type=int, default=2, help="worker processes of one thread (2)")
    add("--scale", type=float, default=1.0, help="1: the full cases; 0.1: a smoke run")
    add("--venvs", type=Path, default=VENVS, help=f"where packages are installed ({VENVS})")
    add("--output", type=Path, default=None, help="file of results (benchmarks/results/DATE.json), its plot beside it")
    add("--render", type=Path, default=None, metavar="FILE", help="print the table of a file")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.cases) - set(CASES)):
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    others = [name for item in arguments.against for name in (ALL if item == "all" else [item])]
    arguments.subjects = list(dict.fromkeys(others if arguments.only_others else [OURS, *others]))
    if not arguments.subjects:
        parser.error("--only-others needs --against NAME")
    if arguments.workers < 2:
        parser.error("--workers: at least 2, one to send and one to receive")
    arguments.cases = arguments.cases or list(CASES)
    day = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d")
    arguments.output = arguments.output or RESULTS / f"{day}.json"
    return arguments


def describe(arguments: argparse.Namespace, subjects: list[str], module: str = "benchmarks") -> dict[str, Any]:
    """Return what must be known to read the figures, with no figures yet."""
    return {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "when": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "rounds": arguments.rounds,
        "workers": getattr(arguments, "workers", 0),
        "scale": arguments.scale,
        "subjects": {name: {"version": ""} for name in subjects},
        "failures": [],
        "figures": {},
    }


def _commit() -> str:
    if shutil.which("git") is None:
        return ""
    argv = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def keep(results: dict[str, Any], path: Path, venvs: Path) -> None:
    """Write the file of results, and the plot of it beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    picture = path.with_suffix(".svg")
    python = environment_of("matplotlib", venvs)
    done = subprocess.run([python, str(PROGRAMS / "bench_plot.py"), str(path), str(picture)], check=False)
    print(f"kept in {path}" + (f" and {picture}" if done.returncode == 0 else ", without a plot"))


def _measure(arguments: argparse.Namespace, subjects: list[Subject], results: dict[str, Any]) -> None:
    """Fill in the figures, round by round, the subjects in turns."""
    for number in range(arguments.rounds):
        # Who goes first changes, so that a slow spell of the machine does not hit one of them only.
        for found in subjects if number % 2 == 0 else reversed(subjects):
            # What ran out of time once would do so again.
            lost = [f["case"] for f in results["failures"] if f["subject"] == found.name and f["failure"][0] == ">"]
            cases = [case for case in arguments.cases if case not in lost]
            print(f"round {number + 1} of {arguments.rounds}: {found.name}", flush=True)
            for line in _round(found, arguments, cases):
                _note(results, found.name, line)


def _round(found: Subject, arguments: argparse.Namespace, cases: list[str]) -> list[dict[str, Any]]:
    """Run one round in a process of its own and return its lines; a failure is a line too."""
    argv = [found.python, str(PROGRAMS / "bench_round.py"), found.name, str(arguments.scale)]
    argv += [str(arguments.workers), *cases]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=found.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        late = False
        try:
            text, _ = process.communicate(timeout=ROUND_TIMEOUT_S)
        except BaseException as error:
            _kill(process)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            text, _ = process.communicate()
            late = True
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        for line in lines:
            print(f"  {line}", flush=True)
        if process.returncode:
            errors.seek(0)
            failure = f"> {ROUND_TIMEOUT_S} s" if late else "failed"
            lines.append({"case": "", "failure": failure, "text": errors.read()[-3000:]})
            sys.stderr.write(lines[-1]["text"])
    return lines


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a round with all that it has started."""
    for member in [*psutil.Process(process.pid).children(recursive=True), process]:
        with contextlib.suppress(psutil.Error):
            member.kill()


def _note(results: dict[str, Any], name: str, line: dict[str, Any]) -> None:
    if "version" in line:
        results["subjects"][name] = line
    elif "failure" in line:
        results["failures"].append({"subject": name, **line})
    else:
        for figure, value in line["figures"].items():
            of_case = results["figures"].setdefault(line["case"], {}).setdefault(figure, {})
            of_case.setdefault(name, []).append(value)


if __name__ == "__main__":
    sys.exit(main())
