"""Whether another package named ``distributed`` sits in the way of ours, in one sentence.

Two distributions install an import package of that name: dlaunch, and the public package that
dask users know.  In one environment they write over each other's files, and what is left of either
does not work (see ``docs/decisions/0002-the-name-distributed.md``).

This module stands alone: it imports nothing of ours, so that it can be loaded by its path before
``distributed`` itself is imported, which in a broken environment would already fail.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

__all__ = ["conflict"]

_FOREIGN = ("distributed-", "distributed.")
_METADATA = (".dist-info", ".egg-info")
_ADVICE = (
    "dlaunch and that package both install a Python package named 'distributed' and cannot share "
    "an environment: install dlaunch in a virtual environment of its own (python3 -m venv)"
)


def conflict(folder: Path | None = None) -> str | None:
    """Return a sentence that says what is wrong and what to do, or None if all is well.

    ``folder`` is the one that holds our packages (default: the one this file was loaded from).
    Costs one look-up of a module and one listing of that folder; nothing is imported.
    """
    ours = folder or Path(__file__).resolve().parent.parent
    if other := _foreign_metadata(ours):
        return f"the package {other} is installed in {ours} too; {_ADVICE}"
    found = _where_imports_lead() if folder is None else ours / "distributed" / "__init__.py"
    if found is None or not found.is_file():
        return (
            f"files of dlaunch are missing from {ours / 'distributed'}, probably because another "
            "package named 'distributed' was uninstalled; install dlaunch again: "
            "pip install --force-reinstall --no-deps dlaunch"
        )
    if found.resolve().parent != ours / "distributed":
        return f"'import distributed' finds another package, {found.parent}; {_ADVICE}"
    return None


def _foreign_metadata(folder: Path) -> str:
    """Return name and version of the other distribution if ``folder`` has it, else nothing."""
    for name in os.listdir(folder):
        if name.startswith(_FOREIGN) and name.endswith(_METADATA):
            return name.rpartition(".")[0]
    return ""


def _where_imports_lead() -> Path | None:
    """Return the file that ``import distributed`` would run, without running it."""
    spec = importlib.util.find_spec("distributed")
    return Path(spec.origin) if spec is not None and spec.origin else None
