"""Defaults of the site and of the user: ``/etc/dlaunch/config.toml`` and ``~/.config/dlaunch/config.toml``.

::

    [defaults]              # for every system
    nthreads = 2
    [slurm]                 # for dlaunch slurm
    queue = "main"
    prologue = ["module load python"]

Later ones win: the site's defaults, the site's system, the user's defaults, the user's system, the options.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed.errors import ConfigError
from launchers.options import OPTIONS, Option, parse_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["SITE_FOLDER", "Value", "config_files", "resolve_values", "user_folder"]

SITE_FOLDER = Path("/etc/dlaunch")
_FILE = "config.toml"
_NOT_IN_FILES = ("name",)


@dataclass(frozen=True)
class Value:
    """One resolved value: ``raw`` as written, ``parsed``, and ``origin``: a file and block, an option, or "default"."""

    raw: Any
    parsed: Any
    origin: str


def user_folder() -> Path:
    """Return the user's folder of configuration and templates (it may not exist)."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "dlaunch"


def config_files() -> list[Path]:
    """Return where configuration is looked for, weakest first."""
    return [SITE_FOLDER / _FILE, user_folder() / _FILE]


def resolve_values(
    system: str, given: Mapping[str, Any], systems: Mapping[str, Sequence[Option]] | None = None
) -> dict[str, Value]:
    """Return option key -> value for one system, with where it came from.

    ``given``: raw values of the command line or of keyword arguments, None if not given.  ``systems``: names of blocks
    that the files may have, and which options of their own these have.  Raises ConfigError, also for unknown keys and
    blocks.
    """
    owns: dict[str, Sequence[Option]] = {"defaults": (), system: (), **(systems or {})}
    own = owns[system]
    values = {
        option.key: Value(option.default, parse_value(option.key, option.default, own=own), "default")
        for option in (*OPTIONS, *own)
        if option.default is not None
    }
    for path in config_files():
        content = _read(path)
        _check_blocks(path, content, owns)
        for block in ("defaults", system):
            for key, raw in content.get(block, {}).items():
                origin = f"{path} [{block}]"
                if key in _NOT_IN_FILES:
                    raise ConfigError(f"{key} cannot be set in {origin}: it belongs to one cluster", key=key)
                values[key] = Value(raw, parse_value(key, raw, origin, own), origin)
    for key, raw in given.items():
        if raw is not None and raw != ():
            values[key] = Value(raw, parse_value(key, raw, own=own), "option")
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text())
        return content
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", value=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}", value=str(path)) from error


def _check_blocks(path: Path, content: dict[str, Any], known: Mapping[str, Sequence[Option]]) -> None:
    for block, keys in content.items():
        if block not in known:
            names = ", ".join(f"[{name}]" for name in sorted(known))
            raise ConfigError(f"{path}: there is no block [{block}]; use {names}", key=block, origin=str(path))
        if not isinstance(keys, dict):
            raise ConfigError(f"{path}: {block} is not a block: write [{block}] on a line", key=block)
        for key, raw in keys.items():
            parse_value(key, raw, f"{path} [{block}]", known[block])
