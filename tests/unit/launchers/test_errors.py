from __future__ import annotations

import copy
import pickle

import pytest

from distributed.errors import DistributedError
from launchers import errors
from launchers.errors import (
    CommandError,
    LauncherError,
    MissingVariableError,
    ProgramMissingError,
    StartFailedError,
    SubmitError,
    TemplateError,
    UnexpectedOutputError,
    UnknownLauncherError,
)


def test_one_root_and_one_suffix():
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, LauncherError)
        assert issubclass(kind, DistributedError)
        assert name.endswith("Error")
    assert {kind.__name__ for kind in CommandError.__subclasses__()} >= {"SubmitError", "StatusError", "CancelError"}


def test_an_unknown_launcher_names_the_known_ones():
    error = UnknownLauncherError("slrum", ["slurm", "local"])
    assert str(error) == "there is no launcher 'slrum'; known are: local, slurm; did you mean 'slurm'?"
    assert (error.name, error.known) == ("slrum", ["local", "slurm"])
    assert str(UnknownLauncherError("x", [])).endswith("known are: none")


def test_a_missing_variable_names_template_line_and_the_nearest():
    error = MissingVariableError("my.sh.j2", "memori", ["memory", "queue"], line=4)
    assert str(error) == (
        "the jobscript template my.sh.j2, line 4: the variable 'memori' is not defined; did you mean memory?"
    )
    assert (error.template, error.variable, error.line) == ("my.sh.j2", "memori", 4)
    assert isinstance(error, TemplateError)
    assert str(MissingVariableError("t", "zzz", ["b", "a"])).endswith("defined are: a, b")


def test_a_command_error_carries_what_was_printed():
    error = SubmitError("no", argv=["sbatch", "x"], exit_code=1, stdout="o", stderr="e", script="/s", transient=True)
    assert (error.argv, error.exit_code, error.stdout, error.stderr) == (("sbatch", "x"), 1, "o", "e")
    assert (error.script, error.transient, str(error)) == ("/s", True, "no")
    plain = CommandError("it never started")
    assert (plain.argv, plain.exit_code, plain.transient) == ((), None, False)


def test_a_missing_program_says_what_to_do():
    error = ProgramMissingError("sbatch", "load its module")
    assert str(error) == "sbatch is not in PATH: load its module"
    assert (error.program, error.exit_code, error.transient) == ("sbatch", 127, False)


@pytest.mark.parametrize(("text", "shown"), [("hello\n", "'hello'"), ("", "'nothing'"), (" \n", "'nothing'")])
def test_unexpected_output_shows_it(text, shown):
    error = UnexpectedOutputError(("sbatch", "a b"), text, "a job id", "warning")
    assert str(error) == f"sbatch 'a b' printed {shown}, expected a job id"
    assert (error.stdout, error.stderr, error.expected, error.exit_code) == (text, "warning", "a job id", 0)


def test_a_failed_start_shows_the_log():
    error = StartFailedError("3 jobs ended", ["failed (x)"], "/logs/a.1.log", "no such file")
    assert (error.reasons, error.log, error.tail) == (["failed (x)"], "/logs/a.1.log", "no such file")


@pytest.mark.parametrize("error", [StartFailedError("a", ["b"], "c", "d"), SubmitError("a", transient=True)])
def test_errors_can_be_copied(error):
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is type(error)
        assert (str(other), vars(other)) == (str(error), vars(error))
