from __future__ import annotations

import dataclasses
import inspect

import pytest

from launchers.errors import CancelError, StatusError
from launchers.local import LocalPlugin
from launchers.protocol import Command, Failure, Finder, Historian, Output, Plugin, command_error
from launchers.slurm import SlurmPlugin

# mypy holds the classes to the protocol; this line is what it looks at.
PLUGINS: list[Plugin] = [LocalPlugin(), SlurmPlugin()]


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_the_built_in_plugins_have_every_part(plugin):
    for name in inspect.get_annotations(Plugin):
        assert hasattr(plugin, name), name
    for name, method in inspect.getmembers(Plugin, inspect.isfunction):
        if not name.startswith("_"):
            mine = inspect.signature(getattr(plugin, name))
            assert [*mine.parameters] == [*inspect.signature(method).parameters][1:], name


def test_optional_parts_are_told_apart():
    assert isinstance(SlurmPlugin(), Historian)
    assert isinstance(SlurmPlugin(), Finder)
    assert not isinstance(LocalPlugin(), Historian)
    assert not isinstance(LocalPlugin(), Finder)


def test_a_command_has_a_time_limit_unless_told_otherwise():
    command = Command(("squeue",))
    assert command.timeout_s == 60.0
    assert (command.stdin, command.drop, command.keep, dict(command.env)) == ("", (), frozenset(), {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        command.timeout_s = 1.0


def test_an_error_about_a_command_carries_its_output():
    output = Output(("scancel", "7"), 8, "o", "e")
    failure = Failure("it said no", transient=True, uncertain=True)
    error = command_error(CancelError, output, failure, script="/s")
    assert type(error) is CancelError
    assert (str(error), error.argv, error.exit_code) == ("it said no", ("scancel", "7"), 8)
    assert (error.stdout, error.stderr, error.script, error.transient) == ("o", "e", "/s", True)
    assert error.uncertain
    assert not command_error(StatusError, output, Failure("")).transient
