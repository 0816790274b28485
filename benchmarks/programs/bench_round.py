"""One round of one subject, in an interpreter of its own: a JSON line for each case named.

    python bench_round.py SUBJECT SCALE WORKERS CASE...

A case that fails or takes longer than its limit is a line too, and the next one gets a new cluster.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from bench_cases import CASES, warm_up
from bench_engines import ENGINES, opened

ALONE = {"startup", "simulated", "growth", "held"}
"""Cases that get a cluster of their own."""
BARE = {"startup", "simulated"}
"""Cases that bring their own workers."""
LIMITS_S = {"growth": 40}
LIMIT_S = 180
PATHS = {
    "relay": ("bench_relay", "measure"),
    "relay-blocks": ("bench_relay", "measure_blocks"),
    "floors": ("bench_floors", "measure"),
}


class Limit:
    """A time limit: an exception in the main thread when it is over."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.expired = False

    def __enter__(self) -> Limit:
        signal.signal(signal.SIGALRM, self._expire)
        signal.alarm(self.seconds)
        return self

    def __exit__(self, *_: object) -> None:
        signal.alarm(0)

    def _expire(self, *_: object) -> None:
        self.expired = True
        raise TimeoutError(f"> {self.seconds} s")


def say(line: dict[str, Any]) -> None:
    """Print one line of results."""
    print(json.dumps(line), flush=True)


def attempt(name: str, step: Callable[[], dict[str, float]]) -> bool:
    """Say what a case gave; return whether it went well."""
    limit = Limit(LIMITS_S.get(name, LIMIT_S))
    try:
        with limit:
            figures = step()
    except Exception:  # noqa: BLE001 - whatever went wrong with a subject is its result
        if limit.expired:  # whatever the subject has made of it
            say({"case": name, "failure": f"> {limit.seconds} s"})
        else:
            say({"case": name, "failure": "failed", "text": traceback.format_exc()[-3000:]})
        return False
    say({"case": name, "figures": figures})
    return True


def together(subject: str, scale: float, workers: int, names: list[str]) -> list[str]:
    """Run cases on one cluster until one fails; return those that are left."""
    rest = list(names)
    with contextlib.ExitStack() as stack:
        engine: Any = None
        while rest:
            name = rest.pop(0)

            def step(name: str = name) -> dict[str, float]:
                nonlocal engine
                if engine is None:
                    engine = stack.enter_context(opened(subject, workers))
                    warm_up(engine)
                return CASES[name](engine, scale)

            if not attempt(name, step):
                break
    return rest


def alone(subject: str, scale: float, workers: int, name: str) -> None:
    """Run one case on a cluster of its own."""
    case = CASES[name] if name in CASES else importlib.import_module("bench_crowd").simulated

    def step() -> dict[str, float]:
        with opened(subject, 0 if name in BARE else workers) as engine:
            if name not in BARE:
                warm_up(engine)
            figures: dict[str, float] = case(engine, scale)
            return figures

    attempt(name, step)


def main(subject: str, scale: float, workers: int, names: list[str]) -> None:
    """Print the version, then the figures of each case as it ends."""
    if subject in PATHS:
        say({"version": platform.python_version() if subject == "floors" else ""})
        home, function = PATHS[subject]
        module = importlib.import_module(home)
        measure = getattr(module, function)
        for name in module.CASES:
            if name in names:
                attempt(name, lambda name=name: measure([name], scale, workers)[name])  # type: ignore[misc]
        return
    home, cls = ENGINES[subject]
    engine = getattr(importlib.import_module(home), cls)
    say({"version": engine.version_of()})
    names = [name for name in names if name in engine.cases]
    rest = [name for name in names if name not in ALONE]
    while rest:
        rest = together(subject, scale, workers, rest)
    for name in names:
        if name in ALONE:
            alone(subject, scale, workers, name)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    sys.stdout.flush()
    os._exit(0)  # a subject's threads that a case has left hanging are not waited for
