"""Each subject runs in an environment of its own, which is made once."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import subjects
from benchmarks.subjects import ROOT, subject


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have been run."""
    found: list[list[str]] = []

    def run(argv: list[str], **_: object) -> SimpleNamespace:
        found.append(argv)
        if "venv" in argv:
            Path(argv[-1]).mkdir(parents=True)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subjects.subprocess, "run", run)
    return found


@pytest.mark.parametrize("name", ["dlaunch", "relay", "relay-blocks", "pool", "floors"])
def test_what_needs_no_package_is_run_from_this_checkout(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLAUNCH_CLUSTER", "somebody's")
    found = subject(name, tmp_path)
    assert found.environment()["PYTHONPATH"] == str(ROOT)
    assert "DLAUNCH_CLUSTER" not in found.environment()
    assert found.python == sys.executable


def test_a_package_is_installed_once_and_never_sees_the_checkout(
    tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = subject("distributed==2026.8.0", tmp_path)
    folder = tmp_path / "distributed-2026.8.0"
    assert found.python == str(folder / "bin" / "python")
    assert found.name == "distributed"
    assert "PYTHONPATH" not in found.environment()
    assert "distributed==2026.8.0" in commands[1]
    assert subject("distributed==2026.8.0", tmp_path) == found
    assert len(commands) == 2


def test_an_unknown_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no adapter for 'parsl'"):
        subject("parsl", tmp_path)
