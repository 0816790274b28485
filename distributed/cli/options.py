"""What the commands' options have in common: how values are read, how mistakes are told."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from distributed.errors import ConfigError
from distributed.network import parse_address
from distributed.units import parse_duration, parse_memory

__all__ = ["ADDRESS", "DURATION", "MEMORY", "PORT", "RESOURCES", "run_click"]

EXIT_USAGE = 2
PORT = click.IntRange(0, 65535)
"""A port to listen on; 0 is any free one."""


class _Address(click.ParamType):  # type: ignore[type-arg]
    """``HOST:PORT`` of a daemon."""

    name = "HOST:PORT"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text if it is an address, brackets around IPv6 kept."""
        try:
            parse_address(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)
        return value.strip()


class _Duration(click.ParamType):  # type: ignore[type-arg]
    """Seconds as a float, None for ``none``, 0 and ``never``."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Return seconds."""
        if value is None or str(value).strip().lower() in {"none", "never", "0"}:
            return None
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Memory(click.ParamType):  # type: ignore[type-arg]
    """Bytes as an int, 0 for no limit, ``"auto"`` as itself."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return bytes, or ``"auto"``."""
        text = str(value).strip().lower()
        if text == "auto":
            return text
        if text in {"0", "none"}:
            return 0
        try:
            return parse_memory(value)
        except ValueError as error:
            self.fail(f"{error}, or auto, or 0 for no limit", param, ctx)


class _Resources(click.ParamType):  # type: ignore[type-arg]
    """``GPU=2,mem=3`` as a dict of floats."""

    name = "NAME=AMOUNT,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        """Return name -> amount."""
        if isinstance(value, dict):
            return value
        found: dict[str, float] = {}
        for part in filter(None, map(str.strip, str(value).split(","))):
            key, separator, amount = (piece.strip() for piece in part.partition("="))
            try:
                found[key] = float(amount)
            except ValueError:
                separator = ""
            if not key or not separator or not 0 <= found[key] < float("inf"):
                self.fail(f"{part!r} is not NAME=AMOUNT, like GPU=2 or GPU=2,licence=1", param, ctx)
        return found


ADDRESS = _Address()
DURATION = _Duration()
MEMORY = _Memory()
RESOURCES = _Resources()


def run_click(command: click.Command, argv: list[str] | None = None) -> NoReturn:
    """Run a command and end the process with its exit code; wrong usage is one sentence on stderr
    and exit code 2.
    """
    prog = command.name or "dlaunch"
    try:
        code = command.main(argv, prog_name=prog, standalone_mode=False)
    except click.UsageError as error:
        print(f"{prog}: {error.format_message()} (see {prog} --help)", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except click.Abort:
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
