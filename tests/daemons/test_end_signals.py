"""A batch system's warning is a reason to end where the jobscript says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from distributed.cli.run import run_command
async def main(stop):
    print("on", flush=True)
    await stop.wait()
    print("goodbye", flush=True)
    return int(sys.argv[1])
sys.exit(run_command("program", main))
"""


def run(signals: str | None, *numbers: int, code: int = 0) -> tuple[int, str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if signals is not None:
        env["DLAUNCH_END_SIGNALS"] = signals
    argv = [sys.executable, "-c", PROGRAM, str(code)]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() == "on\n":
            for number in numbers:
                process.send_signal(number)
        out, err = process.communicate(timeout=20)
    return process.returncode, out + err


def test_the_worker_says_goodbye_and_its_exit_code_tells_why():
    assert run("USR2", signal.SIGUSR2) == (140, "goodbye\n")


def test_sent_twice_at_one_moment_it_still_says_goodbye():
    assert run("USR1 USR2", signal.SIGUSR2, signal.SIGUSR2, signal.SIGUSR1)[1] == "goodbye\n"


def test_signals_that_come_too_late_change_nothing():
    program = PROGRAM.replace("sys.exit(run_command(", "code = run_command(").replace(", main))", ", main)")
    program += """
import os, signal
for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP):
    os.kill(os.getpid(), number)
sys.exit(code)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "DLAUNCH_END_SIGNALS": "USR2"}
    argv = [sys.executable, "-c", program, "5"]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout.readline() == "on\n"
        process.terminate()
        assert process.communicate(timeout=20)[0] == "goodbye\n"
    assert process.returncode == 5


def test_a_failure_keeps_its_exit_code():
    assert run("USR2", signal.SIGUSR2, code=3) == (3, "goodbye\n")


def test_otherwise_a_warning_is_ignored():
    assert run(None, signal.SIGUSR2, signal.SIGUSR1, signal.SIGTERM) == (0, "goodbye\n")


@pytest.mark.parametrize("value", ["KILL", "USR2,USR1", "12"])
def test_an_unknown_signal_is_told(value):
    code, said = run(value)
    assert code == 1
    assert "DLAUNCH_END_SIGNALS" in said
    assert "USR1, USR2, HUP" in said
