from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from launchers import registry
from launchers.config import tomllib
from launchers.errors import UnknownLauncherError
from launchers.local import LocalPlugin
from launchers.registry import GROUP, launcher_names, load_all, load_launcher, template_folder
from launchers.slurm import SlurmPlugin

ROOT = Path(__file__).parents[3]


def test_ours_are_there():
    assert {"local", "slurm"} <= set(launcher_names())
    assert isinstance(load_launcher("slurm"), SlurmPlugin)
    assert isinstance(load_launcher("local"), LocalPlugin)


def test_an_uninstalled_checkout_knows_what_pyproject_declares():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    assert {point.name: point.value for point in registry._UNINSTALLED} == declared


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(UnknownLauncherError, match="did you mean 'slurm'"):
        load_launcher("slum")


@pytest.mark.expect_log("the launcher 'broken' cannot be loaded: ModuleNotFoundError")
def test_a_broken_plugin_does_not_hide_the_others(monkeypatch):
    points = [
        EntryPoint("broken", "no_such_module:Plugin", GROUP),
        EntryPoint("mine", "launchers.local:LocalPlugin", GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert "mine" in load_all()
    assert "broken" not in load_all()
    assert "broken" in launcher_names()


def test_templates_lie_beside_the_plugin():
    assert template_folder(SlurmPlugin()) == Path(registry.__file__).parent
