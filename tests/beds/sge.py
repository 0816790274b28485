"""A real Grid Engine on this machine: brought up, used as a normal user, taken down and looked after."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from tests.beds.hosts import BedError, HostsBed, brought_up

__all__ = ["BedError", "SgeBed", "sge_bed"]


class SgeBed(HostsBed):
    """Grid Engine on four nodes; with SGE_NETNS=0 on this machine alone, which is then its own ``head``."""

    root = "/var/lib/gridengine"
    drmaa_library = "/usr/lib/gridengine-drmaa/lib/libdrmaa.so.1.0"
    head = "127.0.0.1" if os.environ.get("SGE_NETNS") == "0" else HostsBed.head

    def qstat(self) -> list[list[str]]:
        """One row per task in the queue of the normal user: job id, state, queue instance or "", task."""
        rows = [line.split() for line in self.run(["qstat", "-g", "d"]).stdout.splitlines()[2:]]
        # Only what runs has a queue, and it stands before the slots and the task.
        return [[row[0], row[4], row[7] if "@" in row[7] else "", row[-1]] for row in rows]

    def states(self) -> list[str]:
        """The sorted states of all tasks of the normal user."""
        return sorted(row[1] for row in self.qstat())

    def ending(self, job: str, task: int) -> tuple[int, int]:
        """``failed`` and ``exit_status`` of a task that has ended.  Raises AssertionError if that is not known yet."""
        shown = self.run(["qacct", "-j", job, "-t", str(task)]).stdout
        words = dict(line.split(None, 1) for line in shown.splitlines() if len(line.split(None, 1)) == 2)
        return int(words["failed"].split()[0]), int(words["exit_status"].split()[0])

    def queued(self) -> list[str]:
        return [" ".join(row) for row in self.qstat()]

    def cancel_all(self) -> None:
        self.run(["qdel", "-u", self.user], check=False)


@contextlib.contextmanager
def sge_bed() -> Iterator[SgeBed]:
    """Bring Grid Engine up; at the end prove that nothing is left, take it down.  Raises BedError if it cannot."""
    bed = SgeBed()
    with brought_up(bed, "sge-up.sh", "sge-down.sh"):
        yield bed
