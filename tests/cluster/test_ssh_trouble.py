"""Logins as they are: shells that are none of Bourne's, talkative start files; and a network that drops."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path

import psutil
import pytest

from tests.aio import until_sync
from tests.cluster.dlaunch_runs import MAP, SUM_OF_SQUARES, starting

NOISE = {
    ".bashrc": "echo welcome; echo maintenance on friday >&2\n",
    ".cshrc": "echo welcome\nsetenv DLAUNCH_JOB_ID nonsense\n",
    ".config/fish/config.fish": "echo welcome; set -x DLAUNCH_ARRAY_INDEX nonsense\n",
}


@pytest.fixture
def noisy(ssh):
    """Each account's start files print something whenever it logs in."""
    made: list[Path] = []
    before: dict[Path, str] = {}
    for name in (ssh.guest, ssh.tcsh, ssh.fish):
        account = pwd.getpwnam(name)
        for file, text in NOISE.items():
            path = Path(account.pw_dir) / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                before[path] = path.read_text()
            made.append(path)
            path.write_text(text)
            os.chown(path, account.pw_uid, account.pw_gid)
    yield
    for path in made:
        if path in before:
            path.write_text(before[path])
        else:
            path.unlink()


def test_other_login_shells_and_talkative_start_files(ssh, noisy):
    hosts = f"{ssh.guest}@{ssh.nodes[0]},{ssh.tcsh}@{ssh.nodes[1]},{ssh.fish}@{ssh.nodes[2]}"
    argv = ["dlaunch", "ssh", "--hosts", hosts, "--host", ssh.head, "--wait", "all", "--", "python", "-c", MAP]
    done = ssh.run(argv)
    assert done.stdout.split()[0] == SUM_OF_SQUARES
    assert "3 of 3 workers registered" in done.stderr
    ssh.assert_clean(timeout_s=2.0)


@pytest.fixture
def dlaunch(ssh, tmp_path_factory):
    with starting(ssh, tmp_path_factory, "dlaunch", "ssh") as start:
        yield start


def on_node(ssh, node: str) -> list[int]:
    """The normal user's processes whose network is this node's."""
    network = os.stat(f"/run/netns/{node}").st_ino
    found = []
    for process in ssh.processes():
        with contextlib.suppress(OSError, psutil.Error):
            if os.stat(f"/proc/{process.pid}/ns/net").st_ino == network:
                found.append(process.pid)
    return found


def names(pids) -> list[str]:
    """Of those that are still there."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid).name())
    return found


def test_a_network_that_drops_leaves_nothing_on_the_other_side(ssh, dlaunch):
    if ssh.nodes[0].startswith("127."):
        pytest.skip("the loopback network cannot be cut")
    cut, kept = ssh.nodes[:2]
    run = dlaunch("--hosts", f"{cut},{kept}", "--host", ssh.head, "--wait", "all", "--death-timeout", "4s")
    run.until_said("2 workers are there")
    assert on_node(ssh, cut)
    ssh.on_node(cut, ["ip", "link", "set", "eth0", "down"])
    try:
        # sshd there does not know for a while that the connection is dead, and waits for it.
        until_sync(lambda: all("sshd" in name for name in names(on_node(ssh, cut))), 40)
        assert on_node(ssh, kept)
        assert run.process.poll() is None
    finally:
        ssh.on_node(cut, ["ip", "link", "set", "eth0", "up"])
    assert run.interrupt() == 0
    ssh.assert_clean(timeout_s=60.0)
