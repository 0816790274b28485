"""The other package named distributed is told in a sentence, wherever it lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distributed import coexistence
from distributed.coexistence import conflict


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of installed packages with ours in it."""
    (tmp_path / "distributed").mkdir()
    (tmp_path / "distributed" / "__init__.py").write_text("")
    (tmp_path / "dlaunch-0.1.0.dist-info").mkdir()
    return tmp_path


def test_this_environment_is_sound() -> None:
    assert conflict() is None


def test_alone_all_is_well(folder: Path) -> None:
    (folder / "distributed_tools-1.0.dist-info").mkdir()
    assert conflict(folder) is None


@pytest.mark.parametrize("metadata", ["distributed-2026.8.0.dist-info", "distributed-1.0.egg-info"])
def test_the_other_distribution_beside_ours_is_named(folder: Path, metadata: str) -> None:
    (folder / metadata).mkdir()
    sentence = conflict(folder)
    assert sentence is not None
    assert metadata.rpartition(".")[0] in sentence
    assert "virtual environment" in sentence


def test_files_that_an_uninstall_took_away(folder: Path) -> None:
    (folder / "distributed" / "__init__.py").unlink()
    sentence = conflict(folder)
    assert sentence is not None
    assert "missing" in sentence
    assert "pip install --force-reinstall" in sentence


def test_another_package_earlier_on_the_path(tmp_path: Path) -> None:
    other = tmp_path / "distributed"
    other.mkdir()
    (other / "__init__.py").write_text("raise SystemExit('was imported')")
    program = "import runpy, sys; sys.path.insert(0, sys.argv[1]); print(runpy.run_path(sys.argv[2])['conflict']())"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), coexistence.__file__],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert f"finds another package, {other}" in done.stdout
