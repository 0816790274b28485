"""Where each subject runs: this checkout in this interpreter, a peer in its own environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Subject", "ours", "peer"]

ROOT = Path(__file__).resolve().parent.parent
OURS = "dlaunch"
PEERS = {"distributed": ["distributed", "numpy"]}
INSTALL_TIMEOUT_S = 900


@dataclass(frozen=True)
class Subject:
    """Something to measure: its name, the interpreter that has it, and its import path."""

    name: str
    python: str
    path: str = ""

    def environment(self) -> dict[str, str]:
        """Return the variables to run it with."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DLAUNCH_", "DASK_"))}
        kept.pop("PYTHONPATH", None)
        return {**kept, "PYTHONPATH": self.path} if self.path else kept


def ours() -> Subject:
    """Return this checkout, run by the interpreter that runs us."""
    return Subject(OURS, sys.executable, str(ROOT))


def peer(requirement: str, venvs: Path) -> Subject:
    """Return a peer (``distributed`` or ``distributed==VERSION``), installed below ``venvs``.

    Raises ValueError for a peer without an adapter, ``subprocess.CalledProcessError`` if pip fails.
    """
    name = re.split(r"[=<>!~ ]", requirement, maxsplit=1)[0]
    if name not in PEERS:
        raise ValueError(f"no adapter for the peer {name!r}; there is: {', '.join(PEERS)}")
    folder = venvs / re.sub(r"[^A-Za-z0-9.]+", "-", requirement)
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if not complete.exists():
        print(f"installing {requirement} in {folder}", file=sys.stderr)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", requirement, *PEERS[name][1:]])
        complete.touch()
    return Subject(name, str(python))


def _run(argv: list[str]) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, timeout=INSTALL_TIMEOUT_S)
