from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from distributed.errors import ConfigError
from launchers import names, registry
from launchers.config import tomllib
from launchers.errors import BrokenLauncherError, UnknownLauncherError
from launchers.local import LocalPlugin
from launchers.registry import GROUP, WAYS, launcher_names, load_all, load_launcher, template_folder, way_names
from launchers.sge import SgePlugin
from launchers.sge_drmaa import SgeDrmaaPlugin
from launchers.slurm import SlurmPlugin

ROOT = Path(__file__).parents[3]


def test_ours_are_there():
    assert {"local", "slurm"} <= set(launcher_names())
    assert isinstance(load_launcher("slurm"), SlurmPlugin)
    assert isinstance(load_launcher("local"), LocalPlugin)


def test_an_uninstalled_checkout_knows_what_pyproject_declares():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    for group in (GROUP, WAYS):
        known = {point.name: point.value for point in names.UNINSTALLED if point.group == group}
        assert known == declared[group]


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(UnknownLauncherError, match="did you mean 'slurm'"):
        load_launcher("slum")


def test_another_way_to_the_same_system():
    other = load_launcher("sge", "drmaa")
    assert isinstance(other, SgeDrmaaPlugin)
    assert type(load_launcher("sge")) is type(load_launcher("sge", "commands")) is SgePlugin
    assert other.name == "sge"
    assert way_names() == ["sge.drmaa"]
    assert "sge.drmaa" not in launcher_names()


@pytest.mark.parametrize(
    ("name", "via", "words"),
    [
        ("sge", "pigeon", "--via pigeon: sge is reached by commands or drmaa$"),
        ("slurm", "drmaa", "slurm is reached by commands; if it has a DRMAA library: dlaunch drmaa$"),
    ],
)
def test_a_way_that_there_is_not(name, via, words):
    with pytest.raises(ConfigError, match=words):
        load_launcher(name, via)


@pytest.mark.expect_log("the launcher 'broken' of the package no_such_module cannot be loaded: ModuleNotFoundError")
def test_a_broken_plugin_does_not_hide_the_others(monkeypatch):
    points = [
        EntryPoint("broken", "no_such_module:Plugin", GROUP),
        EntryPoint("mine", "launchers.local:LocalPlugin", GROUP),
    ]
    monkeypatch.setattr(names, "entry_points", lambda group: points)
    assert "mine" in load_all()
    assert "broken" not in load_all()
    assert "broken" in launcher_names()
    with pytest.raises(BrokenLauncherError, match="No module named 'no_such_module'"):
        load_launcher("broken")


def test_templates_lie_beside_the_plugin():
    assert template_folder(SlurmPlugin()) == Path(registry.__file__).parent
