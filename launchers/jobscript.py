"""From a JobSpec and a plugin's template to the jobscript, and back to the line that a refusal is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jobscripts.directives import canonical_options, drop_overridden, find_option, normalise
from jobscripts.quoting import ShellVariable, shell_word
from jobscripts.rendering import RenderError, render
from launchers.errors import MissingVariableError, TemplateError
from launchers.jobs import JobSpec, Variable, Word
from launchers.protocol import Failure, Plugin

__all__ = ["blame_line", "check_directives", "render_jobscript"]


def check_directives(plugin: Plugin, lines: Sequence[str]) -> tuple[str, ...]:
    """Return the user's directives without prefix.  Raises ValueError for those that the system cannot take."""
    if lines and not plugin.directive_prefix:
        raise ValueError(f"--directive {lines[0]!r}: {plugin.name!r} has no directives; leave it out")
    checked = tuple(normalise(line, plugin.directive_prefix) for line in lines)
    for line in checked:
        for option in canonical_options(line, plugin.directive_aliases):
            if why := plugin.reserved_directives.get(option):
                raise ValueError(f"--directive {line!r} would take the jobs out of our hands: {why}")
    return checked


def render_jobscript(plugin: Plugin, spec: JobSpec, folders: Sequence[Path], template: str | None = None) -> str:
    """Return the whole jobscript.

    ``folders`` are searched before the built-in templates; ``template`` is the file name (default: the plugin's).
    Raises TemplateError, of which MissingVariableError is one, and ValueError for values the system cannot take.
    """
    name = template or plugin.template
    context = {**_context(plugin, spec), **plugin.context(spec)}
    try:
        script = render(name, folders, context)
    except RenderError as error:
        if error.variable:
            raise MissingVariableError(error.template, error.variable, context, error.line) from error
        raise TemplateError(error.template, error.problem, error.line) from error
    return drop_overridden(script, plugin.directive_prefix, spec.directives, plugin.directive_aliases)


def _context(plugin: Plugin, spec: JobSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "job_name": spec.job_name,
        "first": spec.first,
        "last": spec.last,
        "workers_per_job": spec.workers_per_job,
        "nthreads": spec.nthreads,
        "cpus": spec.cpus,
        "memory": spec.memory,
        "walltime_s": spec.walltime_s,
        "queue": spec.queue,
        "account": spec.account,
        "directive_prefix": plugin.directive_prefix,
        "directives": list(spec.directives),
        "prologue": list(spec.prologue),
        "env": dict(spec.env),
        "by_hand": spec.by_hand,
        "command": _lines(spec.command),
    }


def _lines(command: Sequence[Word]) -> list[str]:
    """The command, quoted, an option and its value to a line."""
    words = [_quoted(word) for word in command]
    lines: list[str] = []
    for word in words:
        if (lines and lines[-1].startswith("--") and " " not in lines[-1] and not word.startswith("--")) or (
            lines and not word.startswith("--") and not lines[-1].startswith("--")
        ):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _quoted(word: Word) -> str:
    parts = (word,) if isinstance(word, str) else word
    return shell_word([ShellVariable(p.value) if isinstance(p, Variable) else p for p in parts])


def blame_line(plugin: Plugin, failure: Failure, script: str) -> str:
    """Return ``line 5 of the jobscript: #SBATCH --partition=nope`` for the line at fault, or ""."""
    option = failure.option
    if len(option) == 1:
        option = f"-{option}"
    number, line = find_option(script, plugin.directive_prefix, option, plugin.directive_aliases)
    return f"line {number} of the jobscript: {line}" if number else ""
