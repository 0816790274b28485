"""The doors of the commands: is the environment sound?  Then the command is imported and run.

The installed programs ``dscheduler``, ``dworker``, ``dlaunch`` and ``dcluster`` come in here rather than at their
modules, because beside another package named ``distributed`` already the import of ours may fail
(``distributed/coexistence.py``).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

__all__ = ["dcluster", "dlaunch", "dscheduler", "dworker"]

EXIT_FAILED = 1


def dcluster() -> None:
    """Run the command ``dcluster``."""
    _enter("dcluster", "launchers.cli_dcluster")


def dscheduler() -> None:
    """Run the command ``dscheduler``."""
    _enter("dscheduler", "distributed.cli.dscheduler")


def dworker() -> None:
    """Run the command ``dworker``."""
    _enter("dworker", "distributed.cli.dworker")


def dlaunch() -> None:
    """Run the command ``dlaunch``."""
    _enter("dlaunch", "launchers.cli")


def _enter(prog: str, module: str) -> None:
    if problem := _environment_problem():
        sys.stderr.write(f"{prog}: {problem}\n")
        sys.exit(EXIT_FAILED)
    sys.exit(importlib.import_module(module).main())


def _environment_problem() -> str | None:
    """Ask ``distributed.coexistence`` without importing ``distributed``, which may not be ours."""
    path = Path(__file__).resolve().parent.parent / "distributed" / "coexistence.py"
    spec = importlib.util.spec_from_file_location("_dlaunch_coexistence", path)
    assert spec is not None
    assert spec.loader is not None
    coexistence = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(coexistence)
    problem: str | None = coexistence.conflict()
    return problem
