"""The program that says where the time of a lonely task goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "lonely.py"


def test_it_tells_the_steps_of_a_task_in_all_processes():
    run = subprocess.run(
        [sys.executable, PROGRAM, "--tasks", "50"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    first, _, *steps = run.stdout.splitlines()
    assert first.startswith("50 tasks, median")
    whats = [step.split(None, 2)[2] for step in steps]
    assert (whats[0], whats[-1]) == ("client: submits", "client: has it")
    for role in ("scheduler", "worker", "client"):
        assert f"{role}: received" in whats
    assert whats.index("worker: thread begins") < whats.index("worker: thread has ended it")
