"""``dlaunch ssh``'s connections to a real ``sshd`` of this machine that refuses, throttles or keeps silent."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from launchers.commands import run
from launchers.hosts import parse_hosts
from launchers.jobs import JobSpec, JobState
from launchers.remote import TRIES
from launchers.ssh import SshPlugin
from tests.aio import run_async, until_sync

PLUGIN = SshPlugin()
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin")
pytestmark = pytest.mark.skipif(
    SSHD is None or os.getuid() != 0, reason="needs sshd (package openssh-server), which only root can let log in"
)
CONFIG = """
Port {port}
ListenAddress 0.0.0.0
HostKey {folder}/host
PidFile {folder}/pid
AuthorizedKeysFile {folder}/user.pub
StrictModes no
UsePAM no
PermitRootLogin yes
UseDNS no
{more}
"""


class Sshd:
    """An sshd on all of 127.*; ``options`` are the words by which ssh trusts it and logs in."""

    def __init__(self, folder: Path, *more: str) -> None:
        folder.mkdir()
        self.folder = folder
        for key in ("host", "user", "other"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(words, check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.trust(*(f"127.0.1.{i}" for i in range(1, 61)))
        (folder / "config").write_text(CONFIG.format(port=self.port, folder=folder, more="\n".join(more)))
        Path("/run/sshd").mkdir(exist_ok=True)
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(folder / "config")], stderr=log)
        until_sync(lambda: "listening" in self.log, what="sshd to listen")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def known(self) -> Path:
        return self.folder / "known_hosts"

    def trust(self, *hosts: str, key: str = "host") -> None:
        public = " ".join((self.folder / f"{key}.pub").read_text().split()[:2])
        self.known.write_text("".join(f"[{host}]:{self.port} {public}\n" for host in hosts))

    def options(self, key: str = "user") -> list[str]:
        said = {"Port": self.port, "IdentityFile": self.folder / key, "UserKnownHostsFile": self.known}
        said |= {"IdentitiesOnly": "yes", "GlobalKnownHostsFile": "/dev/null", "IdentityAgent": "none"}
        return [f"#SSH -o {name}={value}" for name, value in said.items()]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def make_sshd(tmp_path):
    with contextlib.ExitStack() as stack:

        def make(*more: str) -> Sshd:
            made = Sshd(tmp_path / "sshd", *more)
            stack.callback(made.close)
            return made

        yield make


class Batch:
    """An array of jobs that stay, one on each host, submitted by the plugin's own commands."""

    def __init__(self, folder: Path, hosts: str, options: list[str]) -> None:
        own = {"hosts": tuple(parse_hosts([hosts]))}
        self.spec = JobSpec("c", "c-1", ("true",), PurePosixPath(folder), last=len(own["hosts"]), own=own)
        script = "\n".join(["#!/bin/bash", *options, "exec sleep 300", ""])
        self.output = run_async(run(PLUGIN.submit_command(script, self.spec)), timeout_s=150)
        self.array = PLUGIN.parse_submit(self.output, self.spec) if self.output.exit_code == 0 else None

    @property
    def running(self) -> int:
        command = PLUGIN.status_command(list(self.array.elements.values()))
        found = PLUGIN.parse_status(run_async(run(command)))
        return sum(status.state is JobState.RUNNING for status in found.values())

    def cancel(self) -> None:
        run_async(run(PLUGIN.cancel_command([self.array.id])), timeout_s=60)


@pytest.mark.timeout(180)
def test_fifty_hosts_whose_sshd_takes_few_logins_at_a_time(make_sshd, tmp_path):
    sshd = make_sshd("MaxStartups 10:30:60")
    batch = Batch(tmp_path, "127.0.1.[1-50]", sshd.options())
    assert batch.array is not None, batch.output.stderr
    assert batch.running == 50
    batch.cancel()
    assert batch.running == 0


def test_a_changed_host_key_is_never_accepted(make_sshd, tmp_path):
    sshd = make_sshd()
    sshd.trust("127.0.1.1", key="other")
    before = sshd.known.read_text()
    batch = Batch(tmp_path, "127.0.1.1", sshd.options())
    assert batch.output.exit_code == 1
    assert "127.0.1.1  Host key verification failed." in batch.output.stderr
    assert sshd.known.read_text() == before
    assert "Accepted" not in sshd.log


def test_an_unknown_host_is_not_accepted_either(make_sshd, tmp_path):
    sshd = make_sshd()
    batch = Batch(tmp_path, "127.0.1.1,127.0.1.99", sshd.options())
    assert batch.output.exit_code == 1
    assert "1 of 2 hosts did not start, so nothing was left running on any" in batch.output.stderr
    assert "127.0.1.99  Host key verification failed." in batch.output.stderr
    assert "127.0.1.99" not in sshd.known.read_text()


def test_a_wrong_key_is_told_and_nobody_is_asked_for_a_password(make_sshd, tmp_path):
    sshd = make_sshd("PasswordAuthentication yes")
    batch = Batch(tmp_path, "127.0.1.1", sshd.options(key="other"))
    assert batch.output.exit_code == 1
    who = f"{getpass.getuser()}@127.0.1.1"
    assert f"{who}: Permission denied (publickey,password" in batch.output.stderr
    assert not PLUGIN.explain_failure(batch.output).transient


def test_a_host_that_takes_passwords_only(make_sshd, tmp_path):
    sshd = make_sshd("PubkeyAuthentication no", "PasswordAuthentication yes", "KbdInteractiveAuthentication no")
    batch = Batch(tmp_path, "127.0.1.1", sshd.options())
    assert "Permission denied (password)" in batch.output.stderr


def test_who_accepts_and_says_nothing_is_tried_three_times(tmp_path):
    with socket.create_server(("127.0.1.7", 0), backlog=8) as silent:
        options = [f"#SSH -o Port={silent.getsockname()[1]}", "#SSH -o ConnectTimeout=1"]
        batch = Batch(tmp_path, "127.0.1.7", options)
    assert batch.output.exit_code == 1
    assert "127.0.1.7  Connection timed out during banner exchange" in batch.output.stderr or (
        "127.0.1.7  Connection to 127.0.1.7 port" in batch.output.stderr
    )
    assert f"({TRIES} tries)" in batch.output.stderr
