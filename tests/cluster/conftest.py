"""The cluster ring: one real system of each kind for all its tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.beds.hosts import BedError
from tests.beds.sge import SgeBed, sge_bed
from tests.beds.slurm import SlurmBed, slurm_bed
from tests.beds.ssh import SshBed, ssh_bed

HERE = Path(__file__).parent
Bed = TypeVar("Bed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bringing the bed up is not the first test's time."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(120, func_only=True))


@contextlib.contextmanager
def _up(bed: AbstractContextManager[Bed], name: str) -> Iterator[Bed]:
    """A bed that cannot be brought up is a failure of its ring, told without a traceback."""
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(bed)
        except BedError as error:
            pytest.fail(f"the {name} bed cannot be brought up: {error}", pytrace=False)
        yield found


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmBed]:
    """A real SLURM, used as a normal user (see SlurmBed); at the end nothing may be left on it."""
    with _up(slurm_bed(), "SLURM") as bed:
        yield bed


@pytest.fixture(scope="session")
def sge() -> Iterator[SgeBed]:
    """A real Grid Engine, used as a normal user (see SgeBed); at the end nothing may be left on it."""
    with _up(sge_bed(), "Grid Engine") as bed:
        yield bed


@pytest.fixture(scope="session")
def ssh() -> Iterator[SshBed]:
    """Real sshds, used as a normal user (see SshBed); at the end nothing may be left on any host."""
    with _up(ssh_bed(), "ssh") as bed:
        yield bed


@pytest.fixture
def workdir(slurm: SlurmBed) -> Iterator[Path]:
    """A new folder that the normal user owns and every node sees."""
    path = Path(slurm.run(["mktemp", "-d", "-p", slurm.home]).stdout.strip())
    yield path
    slurm.run(["rm", "-rf", path])


@pytest.fixture
def sge_workdir(sge: SgeBed) -> Iterator[Path]:
    """The same, for the tests on Grid Engine."""
    path = Path(sge.run(["mktemp", "-d", "-p", sge.home]).stdout.strip())
    yield path
    sge.run(["rm", "-rf", path])
