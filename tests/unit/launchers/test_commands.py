from __future__ import annotations

import sys
import time

import psutil
import pytest

from launchers.commands import check_programs, check_system, environment_for, run
from launchers.errors import CommandError, ProgramMissingError, WrongSystemError
from launchers.local import LocalPlugin
from launchers.protocol import Command, Output
from tests.aio import run_async, until_sync


def python(code: str, **kw) -> Command:
    return Command((sys.executable, "-c", code), **kw)


def test_what_a_command_leaves():
    code = "import sys; print(sys.stdin.read()); sys.stderr.write('e'); sys.exit(3)"
    output = run_async(run(python(code, stdin="in é")))
    assert (output.exit_code, output.stdout, output.stderr) == (3, "in é\n", "e")


def test_bytes_that_are_no_text():
    output = run_async(run(python("import os; os.write(1, b'12\\xff\\n')")))
    assert output.stdout == "12\N{REPLACEMENT CHARACTER}\n"


def test_a_command_that_does_not_read_its_input():
    assert run_async(run(python("pass", stdin="x" * 1_000_000))).exit_code == 0


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path):
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '300']);"
        f"open({str(pid_file)!r}, 'w').write(str(p.pid)); time.sleep(300)"
    )
    started = time.monotonic()
    with pytest.raises(CommandError, match=r"did not answer within 0\.7 s") as caught:
        run_async(run(python(code, timeout_s=0.7)))
    assert caught.value.transient
    assert time.monotonic() - started < 5
    pid = int(pid_file.read_text())
    until_sync(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", 5)


def test_a_program_that_is_not_there():
    with pytest.raises(ProgramMissingError) as caught:
        run_async(run(Command(("no-such-program",))))
    assert caught.value.exit_code == 127
    assert not caught.value.transient


def test_programs_are_looked_for_before_anything_starts(monkeypatch):
    check_programs(LocalPlugin())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ProgramMissingError, match="bash is not in PATH: install it"):
        check_programs(LocalPlugin())


def test_variables_are_dropped_by_name_and_beginning_but_not_the_kept(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_CONF", "SLURM", "EXACT", "EXACTLY"):
        monkeypatch.setenv(name, "x")
    command = Command(("x",), drop=("SLURM_*", "EXACT"), keep=frozenset({"SLURM_CONF"}), env={"LC_ALL": "C"})
    found = environment_for(command)
    assert "SLURM_JOB_ID" not in found
    assert "EXACT" not in found
    assert {"SLURM_CONF", "SLURM", "EXACTLY"} <= set(found)
    assert found["LC_ALL"] == "C"


def test_a_ctrl_c_does_not_reach_a_command():
    output = run_async(run(python("import os; print(os.getsid(0) == os.getpid())")))
    assert output.stdout == "True\n"


class Foreign(LocalPlugin):
    """A plugin that asks whose programs these are."""

    program = (sys.executable, "-c", "print('version 7')")

    def inspect_command(self) -> Command:
        return Command(self.program)

    def parse_inspection(self, output: Output) -> str:
        return f"this is {output.stdout.strip()}: use something else" if "7" in output.stdout else ""


def test_programs_of_another_system_are_refused(monkeypatch):
    run_async(check_system(LocalPlugin()))
    plugin = Foreign()
    with pytest.raises(WrongSystemError, match="this is version 7: use something else") as caught:
        run_async(check_system(plugin))
    assert (caught.value.exit_code, caught.value.program) == (127, sys.executable)
    monkeypatch.setattr(Foreign, "program", (sys.executable, "-c", "print('version 8')"))
    run_async(check_system(plugin))
    monkeypatch.setattr(Foreign, "program", ("no-such-program",))
    run_async(check_system(plugin))
