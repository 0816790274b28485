"""A played ``ssh`` in PATH, whose hosts have the programs of this checkout."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from launchers.fakes.ssh import FakeSsh, install_ssh

ROOT = Path(__file__).parents[2]


def use_played_ssh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSsh:
    fake = install_ssh(folder / "ssh", path=f"{folder / 'bin'}:/usr/bin:/bin")
    # Logins do not know the checkout; so they find programs as installed ones.
    (folder / "bin").mkdir()
    for name in ("dscheduler", "dworker"):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m distributed.cli.{name} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return fake


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
