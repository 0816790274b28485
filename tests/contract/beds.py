"""Where each launcher is asked: this machine, or played programs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from launchers.drmaa import DrmaaPlugin
from launchers.fakes.drmaa import install_drmaa
from launchers.fakes.pbs import OUTAGE as PBS_OUTAGE
from launchers.fakes.pbs import REFUSED_QUEUE as PBS_REFUSED
from launchers.fakes.pbs import install_pbs
from launchers.fakes.sge import OUTAGE as SGE_OUTAGE
from launchers.fakes.sge import REFUSED_QUEUE, install_sge
from launchers.fakes.slurm import OUTAGE, REFUSED_PARTITION, install_slurm
from launchers.fakes.ssh import install_ssh
from launchers.fakes.torque import OUTAGE as TORQUE_OUTAGE
from launchers.fakes.torque import REFUSED_QUEUE as TORQUE_REFUSED
from launchers.fakes.torque import install_torque
from launchers.hosts import parse_hosts
from launchers.local import LocalPlugin
from launchers.pbs import PbsPlugin
from launchers.sge import SgePlugin
from launchers.sge_drmaa import SgeDrmaaPlugin
from launchers.slurm import SlurmPlugin
from launchers.ssh import SshPlugin
from launchers.testing import Bed
from launchers.torque import TorquePlugin


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


class PlayedSgeBed(Bed):
    """Played commands of Grid Engine, whose jobs are processes of this machine."""

    def __init__(self, folder: Path) -> None:
        self.batch = install_sge(folder / "sge", runs=True)
        super().__init__(SgePlugin(), folder, path=[self.batch.programs], refused={"queue": REFUSED_QUEUE})

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self.batch.close()

    @contextlib.contextmanager
    def outage(self) -> Iterator[bool]:
        """The master does not answer."""
        self.batch.order(*SGE_OUTAGE)
        try:
            yield True
        finally:
            self.batch.behave()


class PlayedSgeDrmaaBed(PlayedSgeBed):
    """The same, reached through a played DRMAA library; its commands are there too."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.plugin = SgeDrmaaPlugin()
        self.env["PYTHONPATH"] = str(install_drmaa(folder / "python", self.batch).path)


class PlayedDrmaaBed(PlayedSgeDrmaaBed):
    """The same library, of which the plugin knows only that it is one of DRMAA."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.plugin = DrmaaPlugin()
        self.refused = {"directives": (f"-q {REFUSED_QUEUE}",)}


class PlayedTorqueBed(Bed):
    """Played commands of Torque, whose jobs are processes of this machine."""

    def __init__(self, folder: Path) -> None:
        self.batch = install_torque(folder / "torque", runs=True)
        super().__init__(TorquePlugin(), folder, path=[self.batch.programs], refused={"queue": TORQUE_REFUSED})

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self.batch.close()

    @contextlib.contextmanager
    def outage(self) -> Iterator[bool]:
        """The server does not answer."""
        self.batch.order(*TORQUE_OUTAGE)
        try:
            yield True
        finally:
            self.batch.behave()


class PlayedPbsBed(Bed):
    """Played commands of PBS, whose jobs are processes of this machine."""

    def __init__(self, folder: Path) -> None:
        self.batch = install_pbs(folder / "pbs", runs=True)
        super().__init__(PbsPlugin(), folder, path=[self.batch.programs], refused={"queue": PBS_REFUSED})

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self.batch.close()

    @contextlib.contextmanager
    def outage(self) -> Iterator[bool]:
        """The server does not answer."""
        self.batch.order(*PBS_OUTAGE)
        try:
            yield True
        finally:
            self.batch.behave()


class PlayedSshBed(Bed):
    """A played ssh, for which all hosts are this machine."""

    def __init__(self, folder: Path) -> None:
        self.ssh = install_ssh(folder / "ssh")
        self.ssh.refuse("down", "ssh: connect to host down port 22: Connection refused")
        super().__init__(
            SshPlugin(),
            folder,
            path=[self.ssh.programs],
            changes={"own": {"hosts": tuple(parse_hosts(["n[1-3]"]))}},
            refused={"own": {"hosts": tuple(parse_hosts(["n1", "down"])), "min-hosts": 2}, "last": 2},
        )


BEDS: dict[str, type[LocalBed | PlayedSgeBed | PlayedSlurmBed | PlayedSshBed | PlayedTorqueBed | PlayedPbsBed]] = {
    "drmaa": PlayedDrmaaBed,
    "pbs": PlayedPbsBed,
    "torque": PlayedTorqueBed,
    "local": LocalBed,
    "sge": PlayedSgeBed,
    "sge.drmaa": PlayedSgeDrmaaBed,
    "slurm": PlayedSlurmBed,
    "ssh": PlayedSshBed,
}
