"""The tables in docs/ that are made from code, and the command that brings them up to date.

    python -m tests.docs_tables

A page holds ``<!-- table: NAME -->``, the table, ``<!-- end -->``.  NAME is ``messages``,
``structures``, ``operations``, ``options COMMAND``, the path of a file of benchmark results, or
``headlines PATH`` for the few rows of it that a first page has room for.
A test compares the pages with the code.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from benchmarks.report import render_file
from distributed import messages
from distributed.cli import dscheduler, dworker
from distributed.daemon import Daemon
from distributed.messages import MESSAGE_TYPES
from distributed.nanny import Nanny
from distributed.scheduler import Scheduler
from distributed.worker import Worker
from launchers.cli_start import make_command

ROOT = Path(__file__).resolve().parent.parent
MARKED = re.compile(r"(<!-- table: (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
CONTEXT = click.Context(click.Command("dlaunch"))
COMMANDS = {
    "dscheduler": dscheduler.main,
    "dworker": dworker.command,
    "dlaunch": make_command("slurm"),
}
FAMILIES = {
    0: "control operations, any connection",
    1: "client to scheduler",
    2: "scheduler to client",
    3: "scheduler to worker",
    4: "worker to scheduler",
    5: "scheduler to watcher",
}


def pages() -> list[Path]:
    """Return every page that may hold a table."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def updated(text: str) -> str:
    """Return a page with its tables made anew."""
    return MARKED.sub(lambda found: found[1] + make(found[2]) + found[4], text)


def make(name: str) -> str:
    """Return the table called ``name``."""
    makers: dict[str, Callable[[], str]] = {
        "messages": message_table,
        "structures": structure_table,
        "operations": operation_table,
    }
    if name.startswith("options "):
        return option_table(name.partition(" ")[2])
    if name in makers:
        return makers[name]()
    headlines = name.startswith("headlines ")
    path = ROOT / name.removeprefix("headlines ")
    return render_file(path, headlines) if path.exists() else "Not measured yet.\n"


def option_table(command: str) -> str:
    """Return the options of a command."""
    lines = ["| option | meaning |", "| --- | --- |"]
    for option in COMMANDS[command].params:
        if isinstance(option, click.Option) and not option.hidden and not option.is_eager:
            value = "" if option.is_flag else f" {option.make_metavar(CONTEXT)}"
            value = value.replace("INTEGER RANGE", "N")
            names = ", ".join(f"`{name}{value}`" for name in option.opts + option.secondary_opts)
            cells = (names, " ".join((option.help or "").split()) + _default(option))
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _default(option: click.Option) -> str:
    shown = option.show_default and option.default not in (None, "")
    return f" [default: {option.default}]" if shown and not option.is_flag else ""


def message_table() -> str:
    """Return all messages, by who sends them to whom."""
    lines = []
    family = None
    for message in sorted(MESSAGE_TYPES, key=_tag):
        if _tag(message) // 10 != family:
            family = _tag(message) // 10
            lines += ["", f"**{FAMILIES[family]}**", "", "| tag | message | fields | meaning |"]
            lines += ["| --- | --- | --- | --- |"]
        lines.append(f"| {_tag(message)} | `{message.__name__}` | {_fields(message)} | {_doc(message)} |")
    return "\n".join(lines[1:]) + "\n"


def structure_table() -> str:
    """Return the structures inside messages."""
    lines = ["| structure | fields | meaning |", "| --- | --- | --- |"]
    for name in ("TaskSpec", "TaskOptions", "ErrorInfo"):
        cls = getattr(messages, name)
        lines.append(f"| `{name}` | {_fields(cls)} | {_doc(cls)} |")
    return "\n".join(lines) + "\n"


def operation_table() -> str:
    """Return the operations of every daemon."""
    lines = ["| daemon | operation | arguments | meaning |", "| --- | --- | --- | --- |"]
    common = set(Daemon.operations())
    for label, cls in (
        ("every", Daemon),
        ("Scheduler", Scheduler),
        ("Worker", Worker),
        ("Nanny", Nanny),
    ):
        for name, found in sorted(cls.operations().items()):
            if cls is Daemon or name not in common:
                lines.append(f"| {label} | `{name}` | {_arguments(found)} | {_doc(found.function)} |")
    return "\n".join(lines) + "\n"


def _tag(message: Any) -> int:
    return typing.cast("int", message.__struct_config__.tag)


def _fields(cls: Any) -> str:
    hints = typing.get_type_hints(cls)
    defaults = {field.name: field.required for field in msgspec.structs.fields(cls)}
    return ", ".join(f"`{name}`{'' if defaults[name] else '?'}: {_type(hints[name])}" for name in cls.__struct_fields__)


def _arguments(found: Any) -> str:
    parameters = list(inspect.signature(found.function).parameters.values())
    skipped = 3 if found.takes_stream else 1
    hints = typing.get_type_hints(found.function)
    return ", ".join(
        f"`{p.name}`{'' if p.default is p.empty else '?'}: {_type(hints.get(p.name, Any))}"
        for p in parameters[skipped:]
    )


def _type(hint: Any) -> str:
    text = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    text = re.sub(r"\b(distributed\.messages|typing|collections\.abc)\.", "", text)
    text = text.replace("bytes | list[Any]", "payload").replace(" | None", "")
    return text.replace("|", "or")


def _doc(thing: Any) -> str:
    """Return the first sentences of a docstring as one line."""
    paragraph = (inspect.getdoc(thing) or "").split("\n\n")[0]
    return re.sub(r"``([^`]*)``", r"`\1`", " ".join(paragraph.split())).replace("|", "\\|")


def main() -> None:
    """Rewrite the pages whose tables have changed."""
    for path in pages():
        text = path.read_text()
        if (new := updated(text)) != text:
            path.write_text(new)
            sys.stdout.write(f"updated {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
