"""Where each subject runs: this checkout in this interpreter, a package of the index in an environment of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BUILT_IN", "PEERS", "ROOT", "Subject", "environment_of", "subject"]

ROOT = Path(__file__).resolve().parent.parent
BUILT_IN = ("dlaunch", "relay", "relay-blocks", "pool", "floors")
PEERS = {"distributed": ["distributed", "numpy"], "ray": ["ray", "numpy", "psutil"], "matplotlib": ["matplotlib"]}
INSTALL_TIMEOUT_S = 900


@dataclass(frozen=True)
class Subject:
    """Something to measure: its name, the interpreter that has it, and its import path."""

    name: str
    python: str
    path: str = ""

    def environment(self) -> dict[str, str]:
        """Return the variables to run it with."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DLAUNCH_", "DASK_", "RAY_"))}
        kept.pop("PYTHONPATH", None)
        return {**kept, "PYTHONPATH": self.path} if self.path else kept


def subject(requirement: str, venvs: Path) -> Subject:
    """Return a subject by its name, or ``NAME==VERSION`` of a package, which is installed below ``venvs``.

    Raises ValueError for one without an adapter, ``subprocess.CalledProcessError`` if pip fails.
    """
    if requirement in BUILT_IN:
        return Subject(requirement, sys.executable, str(ROOT))
    name = re.split(r"[=<>!~ ]", requirement, maxsplit=1)[0]
    if name not in PEERS:
        known = ", ".join((*BUILT_IN, *PEERS))
        raise ValueError(f"no adapter for {name!r}; there are: {known}")
    return Subject(name, environment_of(requirement, venvs))


def environment_of(requirement: str, venvs: Path) -> str:
    """Return the interpreter of an environment that has ``requirement`` and what its adapter needs."""
    name = re.split(r"[=<>!~ ]", requirement, maxsplit=1)[0]
    folder = venvs / re.sub(r"[^A-Za-z0-9.]+", "-", requirement)
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if not complete.exists():
        print(f"installing {requirement} in {folder}", file=sys.stderr)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", requirement, *PEERS[name][1:]])
        complete.touch()
    return str(python)


def _run(argv: list[str]) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, timeout=INSTALL_TIMEOUT_S)
