"""The installed commands refuse a broken environment with one line, else run the command."""

from __future__ import annotations

import types

import pytest

from launchers import doors


def test_a_broken_environment_is_one_line_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doors, "_environment_problem", lambda: "another package is in the way")
    with pytest.raises(SystemExit) as ended:
        doors.dworker()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "dworker: another package is in the way\n"


@pytest.mark.parametrize(
    ("door", "module"),
    [
        (doors.dscheduler, "distributed.cli.dscheduler"),
        (doors.dworker, "distributed.cli.dworker"),
        (doors.dlaunch, "launchers.cli"),
    ],
)
def test_the_command_runs_and_gives_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, door: types.FunctionType, module: str
) -> None:
    imported = []

    def import_module(name: str) -> types.SimpleNamespace:
        imported.append(name)
        return types.SimpleNamespace(main=lambda: 5)

    monkeypatch.setattr(doors.importlib, "import_module", import_module)
    with pytest.raises(SystemExit) as ended:
        door()
    assert ended.value.code == 5
    assert imported == [module]


def test_this_environment_has_no_problem() -> None:
    assert doors._environment_problem() is None
