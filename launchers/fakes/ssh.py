"""A played ``ssh``: all hosts are this machine, and each fails as a test orders.

As with the real one, a remote process does not end with the client: its stdin does.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FakeSsh", "install_ssh"]

_PROGRAM = """#!/bin/bash
# Plays ssh for the tests: the host is the word after --, the command the last one.
folder=@FOLDER@
printf '%s\\n' "$(printf '%q ' "$@")" >>"$folder/calls"
while [ $# -gt 2 ]; do shift; done
host=$1
if [ -e "$folder/once/$host" ]; then
    mv "$folder/once/$host" "$folder/said"
    cat "$folder/said" >&2
    exit 255
fi
if [ -e "$folder/refuse/$host" ]; then
    cat "$folder/refuse/$host" >&2
    exit 255
fi
[ ! -e "$folder/noise" ] || cat "$folder/noise"
# A login has an environment of its own, and what it starts outlives the client.
setsid --wait env -i HOME="$HOME" USER="$USER" PATH="@PATH@" TMPDIR="$folder/tmp" SSH_HOST="$host" \\
    @SHELL@ -c "$2"
"""


@dataclass(frozen=True)
class FakeSsh:
    """``programs`` is the folder to put into PATH; the jobs' temporary files are in ``folder/tmp``."""

    folder: Path

    @property
    def programs(self) -> Path:
        """The folder with the program."""
        return self.folder / "programs"

    def refuse(self, host: str, text: str) -> None:
        """From now on connections to ``host`` end with this sentence of ssh."""
        (self.folder / "refuse" / host).write_text(f"{text}\n")

    def refuse_once(self, host: str, text: str) -> None:
        """The next connection to ``host`` does."""
        (self.folder / "once" / host).write_text(f"{text}\n")

    def accept(self, host: str) -> None:
        """Connections to ``host`` are taken again."""
        (self.folder / "refuse" / host).unlink()

    def make_noise(self, text: str) -> None:
        """Logins print this, as a talkative ``.bashrc`` does."""
        (self.folder / "noise").write_text(text)

    def calls(self) -> list[list[str]]:
        """The arguments of every call."""
        path = self.folder / "calls"
        return [shlex.split(line) for line in path.read_text().splitlines()] if path.exists() else []


def install_ssh(folder: Path, *, shell: str = "sh", path: str = "/usr/local/bin:/usr/bin:/bin") -> FakeSsh:
    """Make the program in ``folder``; ``shell`` is the users' login shell, ``path`` their PATH."""
    fake = FakeSsh(folder)
    for name in ("programs", "refuse", "once", "tmp"):
        (folder / name).mkdir(parents=True)
    text = _PROGRAM.replace("@FOLDER@", shlex.quote(str(folder))).replace("@PATH@", path).replace("@SHELL@", shell)
    (fake.programs / "ssh").write_text(text)
    (fake.programs / "ssh").chmod(0o755)
    return fake
