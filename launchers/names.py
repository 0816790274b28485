"""The names of the launchers: entry points of the group ``dlaunch.launchers``, ours like anybody's.

This module imports nothing of ours, because ``dlaunch --help`` needs the names and nothing else.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points

__all__ = ["GROUP", "UNINSTALLED", "WAYS", "entry_points_by_name", "launcher_names"]

GROUP = "dlaunch.launchers"
WAYS = "dlaunch.ways"
"""Of other ways to the system of a launcher, named ``launcher.way``: plugins with the same name, options and ids."""

# Of a checkout that is not installed, so that no entry point is known; a test compares them with pyproject.toml.
UNINSTALLED = (
    EntryPoint("drmaa", "launchers.drmaa:DrmaaPlugin", GROUP),
    EntryPoint("local", "launchers.local:LocalPlugin", GROUP),
    EntryPoint("pbs", "launchers.pbs:PbsPlugin", GROUP),
    EntryPoint("sge", "launchers.sge:SgePlugin", GROUP),
    EntryPoint("slurm", "launchers.slurm:SlurmPlugin", GROUP),
    EntryPoint("ssh", "launchers.ssh:SshPlugin", GROUP),
    EntryPoint("torque", "launchers.torque:TorquePlugin", GROUP),
    EntryPoint("sge.drmaa", "launchers.sge_drmaa:SgeDrmaaPlugin", WAYS),
)


def entry_points_by_name(group: str = GROUP) -> dict[str, EntryPoint]:
    """Return the entry points of all launchers, or of all other ways."""
    found = {point.name: point for point in entry_points(group=group)}
    try:
        distribution("dlaunch")
    except PackageNotFoundError:
        found = {**{point.name: point for point in UNINSTALLED if point.group == group}, **found}
    return found


def launcher_names() -> list[str]:
    """Return the names of all launchers, without loading them."""
    return sorted(entry_points_by_name())
