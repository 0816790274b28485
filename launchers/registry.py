"""Finding launchers by name: entry points of the group ``dlaunch.launchers``, ours like anybody's."""

from __future__ import annotations

import inspect
import logging
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from pathlib import Path

from launchers.errors import UnknownLauncherError
from launchers.options import Option
from launchers.protocol import Configurable, Plugin

__all__ = ["GROUP", "launcher_names", "load_all", "load_launcher", "own_options", "template_folder"]

logger = logging.getLogger(__name__)

GROUP = "dlaunch.launchers"
# Of a checkout that is not installed, so that no entry point is known; a test compares them with pyproject.toml.
_UNINSTALLED = (
    EntryPoint("local", "launchers.local:LocalPlugin", GROUP),
    EntryPoint("pbs", "launchers.pbs:PbsPlugin", GROUP),
    EntryPoint("sge", "launchers.sge:SgePlugin", GROUP),
    EntryPoint("slurm", "launchers.slurm:SlurmPlugin", GROUP),
    EntryPoint("ssh", "launchers.ssh:SshPlugin", GROUP),
    EntryPoint("torque", "launchers.torque:TorquePlugin", GROUP),
)


def _points() -> dict[str, EntryPoint]:
    found = {point.name: point for point in entry_points(group=GROUP)}
    try:
        distribution("dlaunch")
    except PackageNotFoundError:
        found = {**{point.name: point for point in _UNINSTALLED}, **found}
    return found


def launcher_names() -> list[str]:
    """Return the names of all launchers, without loading them."""
    return sorted(_points())


def load_launcher(name: str) -> Plugin:
    """Return a new plugin object.

    Raises UnknownLauncherError for a name that nobody has, and whatever a broken plugin raises at its import.
    """
    points = _points()
    if name not in points:
        raise UnknownLauncherError(name, points)
    plugin: Plugin = points[name].load()()
    return plugin


def load_all() -> dict[str, Plugin]:
    """Return all launchers that can be loaded; one that cannot is logged and hides no other."""
    found: dict[str, Plugin] = {}
    for name in launcher_names():
        try:
            found[name] = load_launcher(name)
        except Exception as error:  # noqa: BLE001, PERF203 - a stranger's code at its import
            logger.warning("the launcher %r cannot be loaded: %r", name, error)
    return found


def own_options(plugin: Plugin) -> tuple[Option, ...]:
    """Return the options that only this plugin has."""
    return plugin.options if isinstance(plugin, Configurable) else ()


def template_folder(plugin: Plugin) -> Path | None:
    """Return the folder of the plugin's module, where a third party's template lies."""
    try:
        return Path(inspect.getfile(type(plugin))).parent
    except (TypeError, OSError):
        return None
