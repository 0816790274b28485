"""A real SLURM on this machine: brought up, used as a normal user, taken down and looked after."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.beds.hosts import NODES, BedError, HostsBed, brought_up

__all__ = ["NODES", "BedError", "SlurmBed", "slurm_bed"]


class SlurmBed(HostsBed):
    """SLURM on four nodes."""

    def squeue(self, *options: str, fields: str = "%i|%T|%r|%N") -> list[list[str]]:
        """One row per array task in the queue, split into ``fields`` (id, state, reason, nodes).

        ``options`` are passed on: ``"-t", "all"`` shows what has ended too.
        """
        done = self.run(["squeue", "-h", "-r", "-o", fields, *options])
        return [line.split("|") for line in done.stdout.splitlines()]

    def states(self, job: str) -> list[str]:
        """The sorted states of the tasks of ``job``, those that have ended too."""
        return sorted(state for (state,) in self.squeue("-t", "all", "-j", job, fields="%T"))

    def queued(self) -> list[str]:
        return [" ".join(row) for row in self.squeue("-u", self.user)]

    def cancel_all(self) -> None:
        self.run(["scancel", "-u", self.user], check=False)


@contextlib.contextmanager
def slurm_bed() -> Iterator[SlurmBed]:
    """Bring SLURM up; at the end prove that nothing is left, take it down.  Raises BedError if it cannot."""
    bed = SlurmBed()
    with brought_up(bed, "slurm-up.sh", "slurm-down.sh"):
        yield bed
