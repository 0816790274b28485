"""The command ``dlaunch``: its verbs and systems, loaded when they are used.

``dlaunch --help`` must be quick, so each subcommand lives in a module of its own that only the look-up here imports.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import click

from launchers.errors import BrokenLauncherError
from launchers.names import launcher_names

__all__ = ["dlaunch", "main"]

# verb -> module that holds it as ``command``, and its line in the help
_VERBS = {
    "config": ("launchers.cli_config", "Print every option's value and where it comes from."),
    "gc": ("launchers.cli_gc", "Clean up after launchers that were killed: their jobs and folders."),
    "head": ("launchers.cli_head", "Start a scheduler only, for workers whose jobs you submit yourself."),
    "list": ("launchers.cli_list", "List your clusters, or the workers of one."),
    "stop": ("launchers.cli_list", "End a cluster, also one whose launcher has died."),
}
_SYSTEM_MODULE = "launchers.cli_start"


class _Lazy(click.Group):
    """A group that imports the module of a subcommand at its use: the one place that imports by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [*launcher_names(), *_VERBS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name in _VERBS:
            commands: dict[str, click.Command] = importlib.import_module(_VERBS[cmd_name][0]).COMMANDS
            return commands[cmd_name]
        make: Callable[[str], click.Command] = importlib.import_module(_SYSTEM_MODULE).make_command
        return make(cmd_name) if cmd_name in launcher_names() else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.list_commands(ctx) and not name.startswith("-"):
            unknown = importlib.import_module("launchers.errors").UnknownLauncherError
            raise click.UsageError(str(unknown(name, self.list_commands(ctx))), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Systems"):
            formatter.write_dl([(name, f"Start a cluster on {name}.") for name in launcher_names()])
        with formatter.section("Other commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _VERBS.items()])


_HELP = """Start a running task cluster by one command.

\b
dlaunch slurm -n 64                       a scheduler here, 64 workers as one job array
dlaunch local -n 4 -- python script.py    run a program against a cluster, then end it
dlaunch SYSTEM --help                     all options

In Python, Client(cluster="NAME") connects; under 'dlaunch SYSTEM -n N -- COMMAND' it is just Client().
"""


@click.group(cls=_Lazy, help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dlaunch")
def dlaunch() -> None:
    """Hold the verbs and systems; what each does is in its own module."""


def main(argv: list[str] | None = None) -> Any:
    """Run the command line; return the exit code."""
    try:
        code = dlaunch.main(args=argv, prog_name="dlaunch", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenLauncherError as error:
        sys.stderr.write(f"dlaunch: {error}\n")
        return 1
    except click.Abort:
        sys.stderr.write("dlaunch: interrupted\n")
        return 130
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
