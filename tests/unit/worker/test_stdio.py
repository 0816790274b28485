"""The standard streams of a worker process, tried in a process of its own."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, sys
from distributed.worker.stdio import StdioGuard
guard = StdioGuard()
assert sys.stdin.read() == ""
print("before")
assert guard.repair() == []
os.close(0); os.close(1); os.close(2)
assert guard.repair() == [0, 1, 2]
assert not guard.is_wrecked()
print("after")
print("on stderr", file=sys.stderr)
os.closerange(0, 100)
assert guard.is_wrecked()
assert guard.repair() == [0, 1, 2]
print("again \\udcff")
others = [os.open("/", os.O_RDONLY) for _ in range(50)]
assert guard.is_wrecked()
guard.close()
assert not guard.is_wrecked()
"""


def test_closed_descriptors_are_opened_again_and_stdin_is_empty():
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input="food",
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == "before\nafter\nagain \\udcff\n"
    assert found.stderr == "on stderr\n"


def test_a_process_born_without_streams_gets_some():
    program = "import os, sys; os.close(0); os.close(1); os.close(2)\n" + PROGRAM
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert found.returncode == 0
