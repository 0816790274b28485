"""``dlaunch config [SYSTEM]``: every option's value with its origin."""

from __future__ import annotations

import sys

import click

from distributed.errors import ConfigError
from launchers.config import config_files, resolve_values
from launchers.options import OPTIONS
from launchers.registry import launcher_names, load_all, own_options

__all__ = ["COMMANDS"]


@click.command("config")
@click.argument("system", required=False)
def config(system: str | None) -> int:
    """Print each option's value and where it comes from, for SYSTEM or for all systems."""
    names = launcher_names()
    if system is not None and system not in names:
        raise click.UsageError(f"there is no launcher {system!r}; known are: {', '.join(names)}")
    try:
        systems = {name: own_options(plugin) for name, plugin in load_all().items()}
        values = resolve_values(system or "defaults", {}, systems)
    except ConfigError as error:
        sys.stderr.write(f"dlaunch: {error}\n")
        return 1
    for option in (*OPTIONS, *systems.get(system or "defaults", ())):
        value = values.get(option.key)
        shown = "(not set)" if value is None else str(value.raw)
        print(f"{option.key:16} {shown:24} {value.origin if value else ''}".rstrip())
    for path in config_files():
        print(f"# {path}: {'read' if path.exists() else 'not there'}")
    return 0


COMMANDS = {"config": config}
