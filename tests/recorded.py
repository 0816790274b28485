"""Reading the recorded outputs of batch systems in ``tests/data``."""

from __future__ import annotations

import shlex
from pathlib import Path

from launchers.protocol import Output

DATA = Path(__file__).parent / "data"


def recorded(system: str, case: str) -> Output:
    """Return what a command printed: ``recorded("slurm", "status-running.squeue")``."""
    text = (DATA / system / f"{case}.txt").read_text()
    command, code, rest = text.split("\n", 2)
    head, stdout = rest.split("--- stdout\n", 1)
    stdout, stderr = stdout.rsplit("--- stderr\n", 1)
    assert head == "", f"{case}: {head!r} stands before the first section"
    # "< job.sh" at the end stands for a script on stdin.
    argv = shlex.split(command.removeprefix("$ ").partition(" < ")[0])
    return Output(tuple(argv), int(code.removeprefix("exit: ")), stdout, stderr)


def cases(system: str, pattern: str = "*") -> list[str]:
    """Return the names of the recorded cases that match a pattern."""
    found = [path.name.removesuffix(".txt") for path in sorted((DATA / system).glob(f"{pattern}.txt"))]
    return [name for name in found if name != "env"]
