"""The batch system of a machine that has none: ``python -m launchers.spawn submit|status|cancel``.

``submit`` reads a jobscript from stdin and starts each element detached, in a process session of its own, with
``DLAUNCH_ARRAY_INDEX`` set; it prints one id per element.  ``status`` prints the ids that live.  ``cancel`` sends TERM
to every process of these sessions, waits, then KILL, and ends when none is left.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["cancel", "is_alive", "main", "submit"]

TERM_TO_KILL_S = 8.0
_POLL_S = 0.05
_START_FIELD = 19  # of /proc/PID/stat after the name in brackets: start time in clock ticks


def main() -> int:
    """Run one of the three verbs; return the exit code."""
    parser = argparse.ArgumentParser(prog="launchers.spawn", description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("submit")
    one.add_argument("--first", type=int, required=True)
    one.add_argument("--last", type=int, required=True)
    one.add_argument("--name", required=True)
    one.add_argument("--log", required=True, help="path, with %% for the index")
    for verb in ("status", "cancel"):
        verbs.add_parser(verb).add_argument("ids", nargs="*")
    options = parser.parse_args()
    try:
        if options.verb == "submit":
            indices = range(options.first, options.last + 1)
            lines = submit(sys.stdin.read(), indices, options.name, options.log)
        elif options.verb == "status":
            lines = [element for element in options.ids if is_alive(element)]
        else:
            lines = cancel(options.ids)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def submit(script: str, indices: Iterable[int], name: str, log: str) -> list[str]:
    """Start one session per index and return their ids; if one cannot be started, none is left.  Raises OSError."""
    started: list[str] = []
    try:
        for index in indices:
            folder, _, pattern = log.rpartition("/")
            path = Path(folder) / pattern.replace("%", str(index))
            with path.open("ab") as output:
                # The script is an argument, so that nothing has to be deleted and stdin stays empty.
                child = subprocess.Popen(
                    ["bash", "-c", script, f"{name}.{index}"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "DLAUNCH_ARRAY_INDEX": str(index)},
                    start_new_session=True,
                )
            started.append(f"{socket.gethostname()}:{child.pid}:{_start_time(child.pid) or 0}")
            child.returncode = 0  # It outlives us on purpose: no warning about that.
    except OSError:
        cancel(started)
        raise
    return started


def is_alive(element: str) -> bool:
    """Whether the first process of an element lives.  Raises ValueError for what is no id of this host."""
    pid, start = _parse(element)
    return start != 0 and _start_time(pid) == start


def cancel(ids: Iterable[str]) -> list[str]:
    """End every process in the sessions of these elements; return the ids that would not end."""
    sessions = {element: _parse(element) for element in ids}
    deadline = time.monotonic() + TERM_TO_KILL_S
    number = signal.SIGTERM
    told: set[int] = set()
    while True:
        members = _members(sessions.values())
        if not members:
            return []
        for pid in [pid for pid in members if pid not in told]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            told.add(pid)
        if time.monotonic() > deadline:
            if number == signal.SIGKILL:
                return [element for element, key in sessions.items() if _members([key])]
            number, deadline = signal.SIGKILL, time.monotonic() + TERM_TO_KILL_S
            told.clear()
        time.sleep(_POLL_S)


def _parse(element: str) -> tuple[int, int]:
    host, _, rest = element.rpartition(":")[0].rpartition(":")
    start = element.rpartition(":")[2]
    if not (host and rest.isdecimal() and start.isdecimal()):
        raise ValueError(f"{element!r} is not an id like host:pid:start")
    if host != socket.gethostname():
        raise ValueError(f"{element!r} is a process of another host than this one, {socket.gethostname()}")
    return int(rest), int(start)


def _members(sessions: Iterable[tuple[int, int]]) -> list[int]:
    """Processes of these sessions.  A session's number is not given anew while it has members."""
    wanted = {pid for pid, start in sessions if (found := _start_time(pid)) is None or found == start}
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            fields = _fields(int(entry.name))
            if fields and fields[0] not in "ZX" and int(fields[3]) in wanted:
                members.append(int(entry.name))
    return members


def _start_time(pid: int) -> int | None:
    fields = _fields(pid)
    return int(fields[_START_FIELD]) if fields and fields[0] not in "ZX" else None


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


if __name__ == "__main__":
    sys.exit(main())
