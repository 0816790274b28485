"""Measure this checkout, and a peer beside it, on this machine.

    python -m benchmarks                              # this checkout alone
    python -m benchmarks --against distributed        # both, in turns, three rounds each
    python -m benchmarks throughput latency --scale 0.1
    python -m benchmarks --render benchmarks/results/NAME.json

All traffic stays on 127.0.0.1; every run ends by itself.  Exit code 1 if a case failed or gave a
wrong result.
"""

from __future__ import annotations

import argparse
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

from benchmarks.report import TITLES, render, render_file
from benchmarks.subjects import ROOT, Subject, ours, peer

PROGRAM = Path(__file__).resolve().parent / "programs" / "bench_round.py"
RESULTS = Path(__file__).resolve().parent / "results"
ROUND_TIMEOUT_S = 900
VENVS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dlaunch-bench"


def main() -> int:
    """Run what the arguments say."""
    arguments = _parse()
    if arguments.render:
        sys.stdout.write(render_file(arguments.render))
        return 0
    subjects = [] if arguments.only_peer else [ours()]
    subjects += [peer(requirement, arguments.venvs) for requirement in arguments.against]
    results = _describe(arguments, subjects)
    sound = _measure(arguments, subjects, results)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{render(results)}\nkept in {arguments.output}")
    return 0 if sound else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("cases", nargs="*", metavar="CASE", help=f"of {', '.join(TITLES)} (default: all)")
    add("--against", action="append", default=[], metavar="PEER", help="distributed[==VERSION]")
    add("--only-peer", action="store_true", help="leave this checkout out")
    add("--rounds", type=int, default=3, help="rounds of each subject, in turns (3)")
    add("--workers", type=int, default=2, help="worker processes of one thread (2)")
    add("--scale", type=float, default=1.0, help="1: the full cases; 0.1: a smoke run")
    add("--venvs", type=Path, default=VENVS, help=f"where peers are installed ({VENVS})")
    add("--output", type=Path, default=None, help="file of results (benchmarks/results/DATE.json)")
    add("--render", type=Path, default=None, metavar="FILE", help="print the table of a file")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.cases) - set(TITLES)):
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(TITLES)}")
    if arguments.only_peer and not arguments.against:
        parser.error("--only-peer needs --against PEER")
    if arguments.workers < 2:
        parser.error("--workers: at least 2, one to send and one to receive")
    arguments.cases = arguments.cases or list(TITLES)
    day = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d")
    arguments.output = arguments.output or RESULTS / f"{day}.json"
    return arguments


def _describe(arguments: argparse.Namespace, subjects: list[Subject]) -> dict[str, Any]:
    """Return what must be known to read the figures, with no figures yet."""
    return {
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "when": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "rounds": arguments.rounds,
        "workers": arguments.workers,
        "scale": arguments.scale,
        "subjects": {subject.name: {"version": ""} for subject in subjects},
        "failures": [],
        "figures": {},
    }


def _commit() -> str:
    if shutil.which("git") is None:
        return ""
    argv = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _measure(arguments: argparse.Namespace, subjects: list[Subject], results: dict[str, Any]) -> bool:
    """Fill in the figures, round by round, the subjects in turns; return whether all went well."""
    for number in range(arguments.rounds):
        # Who goes first changes, so that a slow spell of the machine does not hit one of them only.
        for subject in subjects if number % 2 == 0 else reversed(subjects):
            print(f"round {number + 1} of {arguments.rounds}: {subject.name}", flush=True)
            for line in _round(subject, arguments):
                _note(results, subject.name, line)
    return not results["failures"]


def _round(subject: Subject, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Run one round in a process of its own and return its lines; a failure is a line too."""
    argv = [subject.python, str(PROGRAM), subject.name, str(arguments.scale)]
    argv += [str(arguments.workers), *arguments.cases]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=subject.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            text, _ = process.communicate(timeout=ROUND_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            text, _ = process.communicate()
        lines = [json.loads(line) for line in text.splitlines()]
        for line in lines:
            print(f"  {line}", flush=True)
        if process.returncode:
            errors.seek(0)
            lines.append({"failure": errors.read()[-3000:]})
            sys.stderr.write(lines[-1]["failure"])
    return lines


def _note(results: dict[str, Any], subject: str, line: dict[str, Any]) -> None:
    if "version" in line:
        results["subjects"][subject] = line
    elif "failure" in line:
        results["failures"].append({"subject": subject, "text": line["failure"]})
    else:
        for case, figures in line.items():
            for figure, value in figures.items():
                of_case = results["figures"].setdefault(case, {}).setdefault(figure, {})
                of_case.setdefault(subject, []).append(value)


if __name__ == "__main__":
    sys.exit(main())
