"""Where each launcher is asked: this machine, or played programs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from launchers.fakes.slurm import OUTAGE, REFUSED_PARTITION, install_slurm
from launchers.local import LocalPlugin
from launchers.slurm import SlurmPlugin
from launchers.testing import Bed


class LocalBed(Bed):
    """This machine; a job whose log cannot be written is refused."""

    def __init__(self, folder: Path) -> None:
        super().__init__(LocalPlugin(), folder, refused={"log_dir": folder / "missing"})


class PlayedSlurmBed(Bed):
    """Played SLURM commands, whose jobs are processes of this machine."""

    def __init__(self, folder: Path) -> None:
        self.batch = install_slurm(folder / "slurm", runs=True)
        super().__init__(SlurmPlugin(), folder, path=[self.batch.programs], refused={"queue": REFUSED_PARTITION})

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self.batch.close()

    @contextlib.contextmanager
    def outage(self) -> Iterator[bool]:
        """The controller does not answer."""
        self.batch.order(*OUTAGE)
        try:
            yield True
        finally:
            self.batch.behave()


BEDS: dict[str, type[LocalBed | PlayedSlurmBed]] = {"local": LocalBed, "slurm": PlayedSlurmBed}
