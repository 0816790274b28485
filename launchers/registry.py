"""Finding launchers by name and loading them."""

from __future__ import annotations

import inspect
import logging
from importlib.metadata import EntryPoint
from pathlib import Path

from distributed.errors import ConfigError
from launchers.errors import BrokenLauncherError, UnknownLauncherError
from launchers.names import GROUP, WAYS, entry_points_by_name, launcher_names
from launchers.options import Option
from launchers.protocol import Configurable, Plugin

__all__ = [
    "COMMANDS",
    "GROUP",
    "WAYS",
    "launcher_names",
    "load_all",
    "load_launcher",
    "own_options",
    "template_folder",
    "way_names",
]

logger = logging.getLogger(__name__)

COMMANDS = "commands"
"""The way of the launcher itself."""


def way_names() -> list[str]:
    """Return ``launcher.way`` for all ways but the launchers' own."""
    return sorted(entry_points_by_name(WAYS))


def load_launcher(name: str, via: str = COMMANDS) -> Plugin:
    """Return a new plugin object, which reaches its system by the way ``via``.

    Raises UnknownLauncherError for a name that nobody has, ConfigError for a way that it has not, and
    BrokenLauncherError for a plugin that fails at its import.
    """
    point = _point_of(name, via)
    try:
        plugin: Plugin = point.load()()
    except Exception as error:  # a stranger's code
        package = point.dist.name if point.dist else point.module
        raise BrokenLauncherError(name, package, f"{type(error).__name__}: {error}") from error
    return plugin


def _point_of(name: str, via: str) -> EntryPoint:
    """Raises UnknownLauncherError, ConfigError."""
    points = entry_points_by_name()
    if name not in points:
        raise UnknownLauncherError(name, points)
    if via == COMMANDS:
        return points[name]
    ways = {
        key.partition(".")[2]: way for key, way in entry_points_by_name(WAYS).items() if key.partition(".")[0] == name
    }
    if via not in ways:
        hint = "; if it has a DRMAA library: dlaunch drmaa" if via == "drmaa" else ""
        known = " or ".join([COMMANDS, *sorted(ways)])
        raise ConfigError(f"--via {via}: {name} is reached by {known}{hint}", key="via", value=via)
    return ways[via]


def load_all() -> dict[str, Plugin]:
    """Return all launchers that can be loaded; one that cannot is logged and hides no other."""
    found: dict[str, Plugin] = {}
    for name in launcher_names():
        try:
            found[name] = load_launcher(name)
        except BrokenLauncherError as error:  # noqa: PERF203 - one that is broken hides no other
            logger.warning("%s", error)
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
