"""The examples run, alone and by dlaunch, and give the result they are known to give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LAUNCH = [sys.executable, "-m", "launchers.cli", "local", "-n", "2", "--host", "127.0.0.1", "--"]


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent)}
    return subprocess.run(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


def test_words_are_counted_by_a_cluster_of_its_own() -> None:
    done = run([sys.executable, str(EXAMPLES / "words.py")])
    assert (done.returncode, "check: right" in done.stdout) == (0, True), done.stderr
    assert "chapters" in done.stdout


def test_words_are_counted_by_dlaunch() -> None:
    done = run([*LAUNCH, sys.executable, str(EXAMPLES / "words.py")])
    assert (done.returncode, "check: right" in done.stdout) == (0, True), done.stderr


def test_digits_are_recognised_with_a_progress_bar() -> None:
    pytest.importorskip("sklearn", reason="the extra [examples] is not installed")
    done = run([sys.executable, str(EXAMPLES / "digits.py"), "--quick"])
    assert (done.returncode, "check: right" in done.stdout) == (0, True), done.stderr
    assert "best: svc(C=1, gamma=0.3)" in done.stdout
    assert "100% Completed" in done.stderr
