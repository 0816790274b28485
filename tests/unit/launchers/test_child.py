from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launchers import child
from launchers.child import ChildCommand
from tests.aio import run_async

FILE = Path("/x/cluster.json")


def run(code: str, **kw) -> int:
    async def life() -> int:
        command = await ChildCommand.start([sys.executable, "-c", code], FILE)
        return await command.wait()

    return run_async(life())


def test_the_exit_code_is_the_commands():
    assert run("import sys; sys.exit(9)") == 9
    assert run("import os; os.kill(os.getpid(), 9)") == 137


def test_it_finds_the_cluster_in_its_environment(monkeypatch, capfd):
    monkeypatch.setenv("DLAUNCH_CLUSTER", "another")
    code = "import os; print(os.environ['DLAUNCH_CLUSTER_FILE'], 'DLAUNCH_CLUSTER' in os.environ, flush=True)"
    assert run(code) == 0
    assert capfd.readouterr().out == "/x/cluster.json False\n"


def test_what_cannot_be_run():
    with pytest.raises(FileNotFoundError):
        run_async(ChildCommand.start(["/no/such/program"], FILE))


@pytest.mark.parametrize(("foreground", "ends"), [(False, True), (True, False)])
def test_an_interrupt_is_handed_on_unless_the_terminal_did(monkeypatch, foreground, ends):
    monkeypatch.setattr(child, "_is_in_foreground", lambda: foreground)

    async def life() -> int:
        command = await ChildCommand.start(["sleep", "300"], FILE)
        assert command.pass_on(signal.SIGINT, 1)
        if not ends:
            assert command.pass_on(signal.SIGTERM, 2)
        code = await command.wait()
        assert not command.pass_on(signal.SIGINT, 3)
        return code

    assert run_async(life()) == 128 + (signal.SIGINT if ends else signal.SIGTERM)


def test_the_third_signal_ends_a_stubborn_command():
    async def life() -> int:
        code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(300)"
        command = await ChildCommand.start([sys.executable, "-c", code], FILE)
        for times in (1, 2, 3):
            command.pass_on(signal.SIGTERM, times)
        return await command.wait()

    assert run_async(life()) in (128 + signal.SIGKILL, 128 + signal.SIGTERM)


def test_a_signal_leaves_the_exit_code_to_the_one_who_waits_for_it(monkeypatch):
    def poll(self):
        raise AssertionError("asked the child for its end, which another thread waits for")

    monkeypatch.setattr(subprocess.Popen, "poll", poll)

    async def life() -> int:
        command = await ChildCommand.start(["sleep", "300"], FILE)
        for _ in range(3):
            command.pass_on(signal.SIGTERM, 1)
        return await command.wait()

    assert run_async(life()) == 128 + signal.SIGTERM


def test_ending_it(monkeypatch):
    monkeypatch.setattr(child, "_TERM_S", 0.3)

    async def life() -> int:
        command = await ChildCommand.start(["bash", "-c", "trap '' TERM; while :; do sleep 0.05; done"], FILE)
        await command.end()
        return await command.wait()

    assert run_async(life()) in (128 + signal.SIGKILL, 128 + signal.SIGTERM)
