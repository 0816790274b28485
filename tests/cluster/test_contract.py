"""The launcher contract on the real systems, as their normal user."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launchers.drmaa import DrmaaPlugin
from launchers.jobs import JobSpec
from launchers.protocol import Command, Output, Plugin
from launchers.sge import SgePlugin
from launchers.sge_drmaa import SgeDrmaaPlugin
from launchers.slurm import SlurmPlugin
from launchers.testing import QUESTIONS, Bed, check_command
from tests.beds.hosts import HostsBed
from tests.beds.sge import SgeBed
from tests.beds.slurm import SlurmBed

NO_CONTROLLER_PORT = 1


class RealBed(Bed):
    """The commands run on the bed as its user; an outage is a configuration that leads nowhere."""

    def __init__(self, plugin: Plugin, hosts: HostsBed, folder: Path) -> None:
        super().__init__(plugin, folder, refused={"queue": "nope"}, timeout_s=60.0)
        self.hosts = hosts
        self.env = {}

    def run(self, command: Command) -> Output:
        check_command(command)
        env = {**self.env, **command.env}
        done = self.hosts.run(command.argv, env=env, input=command.stdin, timeout_s=command.timeout_s, check=False)
        return Output(command.argv, done.returncode, done.stdout, done.stderr)

    def make_folder(self, name: str) -> Path:
        self.hosts.run(["mkdir", self.folder / name])
        return self.folder / name

    def keep_script(self, spec: JobSpec, script: str) -> None:
        self.hosts.run(["tee", str(spec.script_file)], input=script)


class RealSlurmBed(RealBed):
    def __init__(self, slurm: SlurmBed, folder: Path) -> None:
        super().__init__(SlurmPlugin(), slurm, folder)

    @contextlib.contextmanager
    def outage(self) -> Iterator[bool]:
        shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=True).stdout
        path = next(line.split("=", 1)[1].strip() for line in shown.splitlines() if line.startswith("SLURM_CONF"))
        lines = [line for line in Path(path).read_text().splitlines() if not line.startswith("SlurmctldPort")]
        text = "\n".join([*lines, f"SlurmctldPort={NO_CONTROLLER_PORT}", ""])
        lost = self.folder / "lost.conf"
        self.hosts.run(["tee", lost], input=text)
        self.env = {"SLURM_CONF": str(lost)}
        try:
            yield True
        finally:
            self.env = {}


class RealSgeBed(RealBed):
    def __init__(self, sge: SgeBed, folder: Path) -> None:
        super().__init__(SgePlugin(), sge, folder)

    @contextlib.contextmanager
    def outage(self) -> Iterator[bool]:
        self.env = {"SGE_QMASTER_PORT": str(NO_CONTROLLER_PORT)}
        try:
            yield True
        finally:
            self.env = {}


class RealSgeDrmaaBed(RealSgeBed):
    """Its DRMAA library, asked by the Python and the program of the bed's wheel."""

    def __init__(self, sge: SgeBed, folder: Path) -> None:
        super().__init__(sge, folder)
        self.plugin = SgeDrmaaPlugin()

    def run(self, command: Command) -> Output:
        if command.argv[0] != sys.executable:
            return super().run(command)
        *head, program, verb = command.argv[1:]
        where = "import sys; from importlib.util import find_spec as f; print(sys.executable, f(sys.argv[1]).origin)"
        python, path = self.hosts.run(["python", "-c", where, f"launchers.{Path(program).stem}"]).stdout.split()
        done = super().run(dataclasses.replace(command, argv=(python, *head, path, verb)))
        return dataclasses.replace(done, argv=command.argv)


class RealDrmaaBed(RealSgeDrmaaBed):
    """The same library for the plugin that knows no Grid Engine."""

    def __init__(self, sge: SgeBed, folder: Path) -> None:
        super().__init__(sge, folder)
        self.plugin = DrmaaPlugin()
        self.refused = {"directives": ("-q nope",)}
        self.always = {"DRMAA_LIBRARY_PATH": sge.drmaa_library, "SGE_ROOT": sge.root}

    def run(self, command: Command) -> Output:
        return super().run(dataclasses.replace(command, env={**self.always, **command.env}))


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_contract_on_slurm(question, slurm, workdir):
    with RealSlurmBed(slurm, workdir) as bed:
        question(bed)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_contract_on_sge(question, sge, sge_workdir):
    with RealSgeBed(sge, sge_workdir) as bed:
        question(bed)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_contract_on_sge_by_its_drmaa_library(question, sge, sge_workdir):
    with RealSgeDrmaaBed(sge, sge_workdir) as bed:
        question(bed)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_contract_on_any_drmaa_library(question, sge, sge_workdir):
    with RealDrmaaBed(sge, sge_workdir) as bed:
        question(bed)
