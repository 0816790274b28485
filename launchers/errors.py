"""What can go wrong between dlaunch and a batch system.

Message = what happened, with which value, and what to do; the data is in attributes.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Sequence

from distributed.errors import DistributedError

__all__ = [
    "BrokenLauncherError",
    "CancelError",
    "CommandError",
    "LauncherError",
    "MissingVariableError",
    "ProgramMissingError",
    "StartFailedError",
    "StatusError",
    "SubmitError",
    "TemplateError",
    "UnexpectedOutputError",
    "UnknownLauncherError",
    "WrongSystemError",
]


class LauncherError(DistributedError):
    """The launchers' own root; never raised itself."""


class UnknownLauncherError(LauncherError):
    """No launcher has this name.  ``name`` was asked for, ``known`` are the names there are."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = sorted(known)
        near = difflib.get_close_matches(name, self.known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        super().__init__(f"there is no launcher {name!r}; known are: {', '.join(self.known) or 'none'}{hint}")


class BrokenLauncherError(LauncherError):
    """A launcher's plugin cannot be loaded.  ``name`` is the launcher's, ``package`` who brought it."""

    def __init__(self, name: str, package: str, problem: str) -> None:
        self.name = name
        self.package = package
        super().__init__(
            f"the launcher {name!r} of the package {package} cannot be loaded: {problem}; install that package anew, "
            "or remove it"
        )


class TemplateError(LauncherError):
    """A jobscript template cannot be rendered.  ``template`` is its name, ``line`` where (0: unknown)."""

    def __init__(self, template: str, problem: str, line: int = 0) -> None:
        self.template = template
        self.line = line
        where = f"{template}, line {line}" if line else template
        super().__init__(f"the jobscript template {where}: {problem}")


class MissingVariableError(TemplateError):
    """A template uses a variable that nobody defines.  ``variable`` is its name."""

    def __init__(self, template: str, variable: str, known: Iterable[str], line: int = 0) -> None:
        self.variable = variable
        names = sorted(known)
        near = difflib.get_close_matches(variable, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"defined are: {', '.join(names)}"
        super().__init__(template, f"the variable {variable!r} is not defined; {hint}", line)


class CommandError(LauncherError):
    """A command of the batch system failed.

    ``argv``, ``exit_code`` (None: it never ended, or never started), ``stdout`` and ``stderr`` are the command's;
    ``script`` is the path of the jobscript or ""; ``transient``: the same command may work in a while; ``uncertain``:
    it may have worked all the same.
    """

    def __init__(
        self,
        message: str,
        *,
        argv: Sequence[str] = (),
        exit_code: int | None = None,
        stdout: str = "",
        stderr: str = "",
        script: str = "",
        transient: bool = False,
        uncertain: bool = False,
    ) -> None:
        super().__init__(message)
        self.argv = tuple(argv)
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr
        self.script = script
        self.transient = transient
        self.uncertain = uncertain


class ProgramMissingError(CommandError):
    """A program of the batch system is not in PATH.  ``program`` is its name."""

    def __init__(self, program: str, hint: str) -> None:
        super().__init__(f"{program} is not in PATH: {hint}", argv=(program,), exit_code=127)
        self.program = program


class WrongSystemError(ProgramMissingError):
    """The programs in PATH are another batch system's, or lack a library.  ``program`` is the one that said so."""

    def __init__(self, program: str, problem: str) -> None:
        CommandError.__init__(self, problem, argv=(program,), exit_code=127)
        self.program = program


class SubmitError(CommandError):
    """The batch system did not take the job."""


class StatusError(CommandError):
    """The batch system did not tell the state of the jobs."""


class CancelError(CommandError):
    """The batch system did not cancel the jobs."""


class UnexpectedOutputError(CommandError):
    """A command ended well and printed something else than what it should.  ``expected`` says what."""

    def __init__(self, argv: Sequence[str], stdout: str, expected: str, stderr: str = "") -> None:
        shown = stdout.strip() or "nothing"
        super().__init__(
            f"{shlex.join(argv)} printed {shown!r}, expected {expected}",
            argv=argv,
            exit_code=0,
            stdout=stdout,
            stderr=stderr,
            transient=True,
            uncertain=True,
        )
        self.expected = expected


class StartFailedError(LauncherError):
    """Jobs ended before their workers registered, and no more are submitted.

    ``reasons``: one line per job; ``log``: path of the log of the last one, ``tail`` its last lines.
    """

    def __init__(self, message: str, reasons: Sequence[str] = (), log: str = "", tail: str = "") -> None:
        super().__init__(message)
        self.reasons = list(reasons)
        self.log = log
        self.tail = tail
