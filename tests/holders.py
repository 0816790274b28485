"""Who on this machine holds which segments of shared memory: what the system says, not what we believe."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

_MAP = re.compile(r"^\S+ \S+ \S+ \S+ (\d+) +(?:/memfd:dlaunch|/dev/shm/#)", re.MULTILINE)


def held(pid: int | str = "self") -> set[int]:
    """Inodes of the segments that a process has open or mapped; none if it is gone."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(link).startswith(("/memfd:dlaunch", "/dev/shm/#")):
                    found.add(link.stat().st_ino)
    with contextlib.suppress(OSError):
        found.update(int(inode) for inode in _MAP.findall(Path(f"/proc/{pid}/maps").read_text()))
    return found


def holders(inodes: set[int]) -> dict[int, set[int]]:
    """Processes that hold any of these segments: process id -> which."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {pid: common for pid in pids if (common := held(pid) & inodes)}
