"""The daemons on hosts with odd networks, limits and file systems, made as namespaces, cgroups and mounts of root."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemons.launchbed import ROOT, Launching, launching

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can make networks, limits and file systems")
TWO_INTERFACES = """
ip link set lo up
ip link add eth0 type veth peer name eth1
ip link set eth0 up
ip link set eth1 up
"""
ONE_ADDRESS = f"{TWO_INTERFACES} ip addr add 10.9.9.5/24 dev eth0"
# Starts a scheduler and a worker on this host, and a client that uses them; prints the scheduler's line.
CLUSTER = """
import subprocess, sys
from distributed import Client
def start(command, *options):
    argv = [sys.executable, "-m", f"distributed.cli.{command}", *options]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
scheduler = start("dscheduler", "--port", "0", "--cluster", "odd", *sys.argv[1:])
line = scheduler.stdout.readline().strip()
address = line.split()[-1]
worker = start("dworker", address, "--nthreads", "1")
with Client(address) as client:
    client.wait_for_workers(1, timeout_s=20)
    (where,) = client.ncores()
    print(line, where, client.submit(sum, [1, 2]).result(timeout=20))
worker.terminate()
scheduler.terminate()
print(worker.wait(10), scheduler.wait(10))
"""
# A host of its own; whatever runs there ends with it.
UNSHARE = ("unshare", "-n", "-m", "-u", "-p", "-f", "--kill-child", "--mount-proc", "sh", "-ec")


def can_unshare() -> bool:
    words = [*UNSHARE, f"{TWO_INTERFACES}\nmount -t tmpfs tmpfs /mnt"]
    return os.getuid() == 0 and subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def namespaces():
    if not can_unshare():
        pytest.skip("only root, on a machine that lets it, can make networks")


def on_host(setup: str, *options: str, python: str = CLUSTER) -> subprocess.CompletedProcess[str]:
    """Run a program on a host of its own, which ``setup`` makes."""
    program = shlex.join([sys.executable, "-c", python, *options])
    return subprocess.run(
        [*UNSHARE, f"{setup}\n{program}"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    ("setup", "options", "address"),
    [
        ("ip link set lo up", (), "127.0.0.1"),
        (ONE_ADDRESS, (), "10.9.9.5"),
        (f"{TWO_INTERFACES} ip -6 addr add fd00::5/64 dev eth0 nodad", (), "[fd00::5]"),
        (
            f"{ONE_ADDRESS}; ip addr add 10.8.8.5/24 dev eth1",
            ("--interface", "eth1"),
            "10.8.8.5",
        ),
        (
            f"{ONE_ADDRESS}; hostname odd; echo '127.0.1.1 odd' >/mnt/hosts; mount --bind /mnt/hosts /etc/hosts",
            (),
            "10.9.9.5",
        ),
        (f"{ONE_ADDRESS}; hostname nobody-knows-me.invalid", (), "10.9.9.5"),
    ],
    ids=["loopback-only", "no-default-route", "ipv6-only", "several-interfaces", "127.0.1.1", "name-not-known"],
)
def test_a_cluster_on_a_host_with_an_odd_network(namespaces, setup, options, address):
    done = on_host(f"mount -t tmpfs tmpfs /mnt\n{setup}", *options)
    assert done.returncode == 0, done.stderr
    line, codes = done.stdout.splitlines()
    assert line.startswith(f"Start scheduler at {address}:"), done.stderr
    assert line.split()[-2].startswith(f"{address}:"), "the worker tells the same address"
    assert line.endswith(" 3")
    assert codes == "0 0"


def test_an_interface_that_is_not_there_is_answered_by_those_that_are(namespaces):
    setup = f"{ONE_ADDRESS}; ip addr add 10.8.8.5/24 dev eth1"
    for command in ("distributed.cli.dscheduler", "distributed.cli.dworker"):
        more = () if command.endswith("dscheduler") else ("10.9.9.5:8786",)
        run = f"import runpy, sys; sys.argv[0] = 'd'; runpy.run_module({command!r}, run_name='__main__')"
        done = on_host(setup, *more, "--interface", "ib0", python=run)
        assert done.returncode == 1
        (sentence,) = done.stderr.splitlines()
        assert "this host has no interface 'ib0' with an address; it has: " in sentence
        assert "eth0 (10.9.9.5)" in sentence
        assert "eth1 (10.8.8.5)" in sentence


# -- limits ----------------------------------------------------------------------------


@contextlib.contextmanager
def cgroup(controller: str, **limits: str):
    """A cgroup with these limits (both versions of cgroups); gives the words that run a program in it."""
    top = Path("/sys/fs/cgroup")
    folder = (top if (top / "cgroup.procs").exists() else top / controller) / f"dlaunch-test-{os.getpid()}"
    try:
        folder.mkdir()
        for name, value in limits.items():
            file = folder / name.replace("__", ".")
            if file.exists():
                file.write_text(value)
        assert any((folder / name.replace("__", ".")).exists() for name in limits)
        subprocess.run(["sh", "-c", f"echo $$ >{folder}/cgroup.procs"], check=True, capture_output=True)
    except (OSError, AssertionError, subprocess.CalledProcessError) as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip(f"this machine does not let us make a cgroup: {error}")
    try:
        yield ["sh", "-ec", f'echo $$ >{folder}/cgroup.procs; exec "$@"', "_"]
    finally:
        folder.rmdir()


def asked(words: list[str], expression: str) -> int:
    code = f"from distributed.capacity import *; print({expression})"
    done = subprocess.run([*words, sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return int(done.stdout)


@needs_root
def test_a_real_cgroup_lowers_memory():
    limit = 512 * 2**20
    with cgroup("memory", memory__limit_in_bytes=str(limit), memory__max=str(limit)) as words:
        assert asked(words, "usable_memory()") == limit
        assert asked(words, "memory_share(1, 2)") <= limit // 2


@needs_root
@pytest.mark.parametrize(("quota", "cores"), [("50000", 1), ("150000", 2)])
def test_a_real_quota_of_cpus_is_rounded_up(quota, cores):
    more = {"cpu__cfs_quota_us": quota, "cpu__max": f"{quota} 100000"}
    with cgroup("cpu", cpu__cfs_period_us="100000", **more) as words:
        assert asked(words, "usable_cores()") == min(cores, len(os.sched_getaffinity(0)))


def test_a_real_affinity_mask_of_one():
    core = str(min(os.sched_getaffinity(0)))
    assert asked(["taskset", "-c", core], "usable_cores()") == 1


# -- file systems ----------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path):
    """``mounted(options)``: a new file system of 64 KiB."""
    places: list[Path] = []

    def mount(*options: str) -> Path:
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", ",".join(["size=64k", *options]), "tmpfs", str(place)]
        if os.getuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("only root, on a machine that lets it, can mount file systems")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def start(tmp_path, own_home, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with launching(tmp_path, own_home) as bed:
        yield bed


def dworker(bed: Launching, *words: str, **kw):
    run = bed("127.0.0.1:1", "--death-timeout", "2s", *words, program=("-m", "distributed.cli.dworker"), **kw)
    run.wait()
    return run


@pytest.mark.parametrize(
    ("options", "said"), [(("ro",), "Read-only file system"), (("nr_inodes=1",), "No space left on device")]
)
@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
def test_scratch_that_is_read_only_or_full_is_one_sentence(start, mounted, options, said, nanny):
    scratch = mounted(*options)
    run = dworker(start, nanny, "--local-directory", str(scratch))
    assert run.process.returncode == 1
    assert f"cannot make a folder for the worker in {scratch}: {said}" in run.said
    assert "choose another one with --local-directory" in run.said
    assert "Traceback" not in run.said


def test_scratch_that_is_missing_is_made(start, tmp_path):
    run = dworker(start, "--local-directory", str(tmp_path / "a" / "b"))
    assert run.process.returncode == 3, run.said  # it started, and found no scheduler
    assert (tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("tmpdir", [None, "/no/such/folder"])
def test_without_a_tmpdir_there_is_tmp(start, tmpdir):
    env = {key: value for key, value in os.environ.items() if key != "TMPDIR"}
    run = dworker(start, env={**env, **({"TMPDIR": tmpdir} if tmpdir else {})})
    assert run.process.returncode == 3, run.said
    assert "Traceback" not in run.said
