"""What this process may use of its host: cores and memory, as affinity, cgroup and batch system
allow.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

__all__ = ["host_memory", "memory_left", "memory_share", "usable_cores", "usable_memory"]

# (variable that only a job has, variables with the cores of one process there, best first)
_JOB_CORES: Final = (
    ("SLURM_JOB_ID", ("SLURM_CPUS_PER_TASK",)),
    ("SGE_TASK_ID", ("NSLOTS",)),
    ("PBS_JOBID", ("PBS_NUM_PPN", "NCPUS")),
)
_MIB: Final = 2**20
_UNLIMITED: Final = 2**60
"""Version 1 of cgroups says "no limit" by a number near 2**63."""


def _number(text: str | None) -> int:
    """Return a positive whole number, 0 for anything else."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else 0


def _job_cores(environ: Mapping[str, str]) -> int:
    """Return the cores that the batch system gave this process, 0 outside of a job."""
    for job, variables in _JOB_CORES:
        if job in environ:
            for variable in variables:
                if cores := _number(environ.get(variable)):
                    return cores
    if "SLURM_JOB_ID" in environ:
        # Without --cpus-per-task every task of the step (the script itself: one) shares what the
        # node gives.
        tasks = _number(environ.get("SLURM_STEP_TASKS_PER_NODE", "1").partition("(")[0])
        if cores := _number(environ.get("SLURM_CPUS_ON_NODE")):
            return max(1, cores // max(1, tasks))
    return 0


def _affinity() -> int:
    with contextlib.suppress(AttributeError, OSError):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_cores(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Return how many cores this process may keep busy, at least 1.

    The least of its affinity mask, its cgroup's quota (rounded up) and what a SLURM, Grid Engine or
    PBS job was given.  ``root`` is where ``proc`` and ``sys`` are found.
    """
    limits = [_affinity(), _job_cores(environ), *_cgroup_cores(root)]
    return max(1, min(limit for limit in limits if limit))


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of our cgroup and its parents that rule over ``controller``, in both
    versions.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        top = mount / controllers if controllers else mount
        if controllers and not top.is_dir():
            top = mount / controller
        folder = top / path.lstrip("/")
        yield folder
        for parent in folder.parents:
            if not parent.is_relative_to(top):
                break
            yield parent


def _read(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text().split()
    return []


def _cgroup_cores(root: Path) -> Iterator[int]:
    for folder in _cgroup_folders(root, "cpu"):
        quota = _read(folder / "cpu.max")  # version 2: "max 100000" or "150000 100000"
        if not quota:
            quota = _read(folder / "cpu.cfs_quota_us") + _read(folder / "cpu.cfs_period_us")
        if len(quota) == 2 and (granted := _number(quota[0])) and (period := _number(quota[1])):
            yield math.ceil(granted / period)


def _cgroup_memory(root: Path) -> Iterator[int]:
    for folder in _cgroup_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            for word in _read(folder / name)[:1]:
                if 0 < _number(word) < _UNLIMITED:
                    yield _number(word)


def host_memory() -> int:
    """Return the physical memory of this host in bytes."""
    with contextlib.suppress(ValueError, OSError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    import psutil  # where the system has no such variables

    return int(psutil.virtual_memory().total)


def _cgroup_left(root: Path) -> Iterator[int]:
    for folder in _cgroup_folders(root, "memory"):
        for limit, used, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most, now = (_number("".join(_read(folder / name)[:1])) for name in (limit, used))
            if 0 < most < _UNLIMITED:
                words = _read(folder / "memory.stat")
                # Files read once count as used, but make way for whoever needs the memory.
                cached = _number(words[words.index(cache) + 1]) if cache in words else 0
                yield max(most - now + cached, 0)


def memory_left(root: Path = Path("/")) -> int:
    """Return how much memory could still be taken, in bytes: of the host, or less in a cgroup."""
    left = list(_cgroup_left(root))
    words = _read(root / "proc/meminfo")
    if "MemAvailable:" in words:
        left.append(_number(words[words.index("MemAvailable:") + 1]) * 1024)
    return min(left, default=0)


def usable_memory(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Return how much memory this process and its kin may use, in bytes: the host's, or less in a
    job or cgroup.
    """
    limits = [host_memory(), *_cgroup_memory(root)]
    if "SLURM_JOB_ID" in environ:
        per_core = _number(environ.get("SLURM_MEM_PER_CPU")) * _number(environ.get("SLURM_CPUS_ON_NODE"))
        limits += [_number(environ.get("SLURM_MEM_PER_NODE")) * _MIB, per_core * _MIB]
    return min(limit for limit in limits if limit)


def memory_share(nthreads: int, nprocs: int, environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Return the fair share of one of ``nprocs`` workers of ``nthreads`` threads each, in bytes.

    On a whole host that is its memory by its cores; in a job or cgroup with memory of its own, by
    the cores of that.
    """
    memory = usable_memory(environ, root)
    whole_host = memory >= host_memory()
    cores = (os.cpu_count() or 1) if whole_host else usable_cores(environ, root)
    return int(memory * min(1.0 / nprocs, nthreads / cores))
