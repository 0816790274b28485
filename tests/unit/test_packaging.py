"""What pyproject.toml promises is there: commands, launchers, package data, one version."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
ENTRIES = PROJECT["scripts"] | PROJECT["entry-points"]["dlaunch.launchers"] | PROJECT["entry-points"]["dlaunch.ways"]
DATA = PYPROJECT["tool"]["setuptools"]["package-data"]


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_point_leads_somewhere(name):
    module, _, attribute = ENTRIES[name].partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))


def test_the_version_is_written_once_in_the_code_and_is_the_projects():
    texts = [path.read_text() for package in DATA for path in (ROOT / package).rglob("*.py")]
    versions = re.findall(r'^__version__(?:: Final)? = "(.*)"', "\n".join(texts), re.MULTILINE)
    assert versions == [PROJECT["version"]]


@pytest.mark.parametrize("package", DATA)
def test_every_package_is_typed_and_ships_all_its_data(package):
    folder = ROOT / package
    assert "py.typed" in DATA[package]
    assert (folder / "py.typed").exists()
    shipped = {path for pattern in DATA[package] for path in folder.glob(pattern)}
    there = {
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert there == shipped


def test_every_folder_with_modules_is_a_package():
    folders = {path.parent for package in DATA for path in (ROOT / package).rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
