"""Cores and memory as affinity, cgroup and batch system allow."""

from __future__ import annotations

import os

import pytest

from distributed import capacity

GB = 10**9


@pytest.fixture(autouse=True)
def host(monkeypatch):
    """A host of 64 cores and 256 GB with nobody in the way."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(capacity, "host_memory", lambda: 256 * GB)


def make(root, files: dict[str, str]):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_whole_host(tmp_path):
    assert capacity.usable_cores({}, tmp_path) == 64
    assert capacity.usable_memory({}, tmp_path) == 256 * GB


def test_an_affinity_mask_of_one(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {5}, raising=False)
    assert capacity.usable_cores({}, tmp_path) == 1


@pytest.mark.parametrize(
    ("environ", "cores"),
    [
        ({"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "4"}, 4),
        ({"SLURM_JOB_ID": "1", "SLURM_CPUS_ON_NODE": "2"}, 2),
        (
            {
                "SLURM_JOB_ID": "1",
                "SLURM_CPUS_ON_NODE": "16",
                "SLURM_STEP_TASKS_PER_NODE": "4(x3)",
            },
            4,
        ),
        ({"SLURM_CPUS_PER_TASK": "4"}, 64),  # left over in the environment: not in a job
        ({"SGE_TASK_ID": "undefined", "NSLOTS": "8"}, 8),
        ({"NSLOTS": "8"}, 64),
        ({"PBS_JOBID": "1.server", "PBS_NUM_PPN": "6"}, 6),
        ({"PBS_JOBID": "1.server", "NCPUS": "12"}, 12),
        ({"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "many"}, 64),
        ({"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "128"}, 64),
    ],
)
def test_what_a_job_was_given(environ, cores, tmp_path):
    assert capacity.usable_cores(environ, tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("50000 100000", 1)])
def test_a_cgroup_quota_of_version_2_is_rounded_up(quota, cores, tmp_path):
    files = {"proc/self/cgroup": "0::/job/step\n", "sys/fs/cgroup/job/step/cpu.max": quota}
    assert capacity.usable_cores({}, make(tmp_path, files)) == cores


def test_the_tightest_of_all_levels_counts(tmp_path):
    root = make(
        tmp_path,
        {
            "proc/self/cgroup": "0::/job/step\n",
            "sys/fs/cgroup/job/step/cpu.max": "max 100000",
            "sys/fs/cgroup/job/cpu.max": "300000 100000",
            "sys/fs/cgroup/job/step/memory.max": "max",
            "sys/fs/cgroup/job/memory.max": str(8 * GB),
        },
    )
    assert capacity.usable_cores({}, root) == 3
    assert capacity.usable_memory({}, root) == 8 * GB


def test_a_cgroup_of_version_1(tmp_path):
    root = make(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/slurm/job_7\n3:cpu,cpuacct:/slurm/job_7\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/slurm/job_7/cpu.cfs_quota_us": "400000",
            "sys/fs/cgroup/cpu,cpuacct/slurm/job_7/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes": str(4 * GB),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    assert capacity.usable_cores({}, root) == 4
    assert capacity.usable_memory({}, root) == 4 * GB


def test_no_quota_of_version_1_is_minus_one(tmp_path):
    root = make(
        tmp_path,
        {
            "proc/self/cgroup": "3:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert capacity.usable_cores({}, root) == 64


def test_the_memory_of_a_slurm_job(tmp_path):
    per_node = {"SLURM_JOB_ID": "1", "SLURM_MEM_PER_NODE": "4096"}
    assert capacity.usable_memory(per_node, tmp_path) == 4096 * 2**20
    per_core = {"SLURM_JOB_ID": "1", "SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "8"}
    assert capacity.usable_memory(per_core, tmp_path) == 8192 * 2**20


def test_shares_of_a_whole_host_go_by_its_cores(tmp_path):
    assert capacity.memory_share(16, 1, {}, tmp_path) == 64 * GB
    assert capacity.memory_share(32, 2, {}, tmp_path) == 128 * GB
    # More workers than cores: they share what there is.
    assert capacity.memory_share(1, 128, {}, tmp_path) == 2 * GB


def test_shares_of_a_job_go_by_the_jobs_cores(tmp_path):
    environ = {"SLURM_JOB_ID": "1", "SLURM_MEM_PER_NODE": "8192", "SLURM_CPUS_PER_TASK": "4"}
    assert capacity.memory_share(4, 1, environ, tmp_path) == 8192 * 2**20
    assert capacity.memory_share(2, 2, environ, tmp_path) == 4096 * 2**20


def test_the_real_host_has_some_of_both(monkeypatch):
    monkeypatch.undo()
    assert capacity.usable_cores() >= 1
    assert capacity.usable_memory() > 10**8


MEMINFO = "MemTotal: 200 kB\nMemFree: 5 kB\nMemAvailable: 1000 kB\n"


def test_what_is_left_is_what_the_host_has_available(tmp_path):
    assert capacity.memory_left(make(tmp_path, {"proc/meminfo": MEMINFO})) == 1000 * 1024
    assert capacity.memory_left(tmp_path / "nowhere") == 0


@pytest.mark.parametrize(
    ("group", "folder", "limit", "used", "cache"),
    [
        ("0::/job\n", "job", "memory.max", "memory.current", "inactive_file"),
        ("4:memory:/job\n", "memory/job", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_a_cgroup_leaves_less_but_its_file_cache_makes_way(tmp_path, group, folder, limit, used, cache):
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": group,
        f"sys/fs/cgroup/{folder}/{limit}": "50000",
        f"sys/fs/cgroup/{folder}/{used}": "45000",
        f"sys/fs/cgroup/{folder}/memory.stat": f"anon 1\n{cache} 2000\nother 3\n",
    }
    assert capacity.memory_left(make(tmp_path, files)) == 7000
