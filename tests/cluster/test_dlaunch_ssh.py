"""``dlaunch ssh`` and ``dcluster`` over real sshds, as a normal user."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

import pytest

from tests.aio import until_sync

MAP = """
import sys
from distributed import Client
with Client(*sys.argv[1:]) as client:
    print(sum(client.gather(client.map(lambda x: x * x, range(10_000)))), len(client.ncores()))
"""
SUM_OF_SQUARES = str(sum(x * x for x in range(10_000)))


class Run:
    """A command that runs, and what it has printed so far."""

    def __init__(self, process, folder):
        self.process = process
        self.folder = folder

    @property
    def text(self) -> str:
        return (self.folder / "text").read_text()

    def until_said(self, word: str, times: int = 1) -> None:
        def said() -> bool:
            assert self.process.poll() is None or self.text.count(word) >= times, self.text
            return self.text.count(word) >= times

        until_sync(said, 60, f"{word!r} in what it says")

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)


@pytest.fixture
def start(ssh, tmp_path_factory):
    """``start(*words)``: run a command as the normal user; nothing of it may be left at the end."""
    runs = []

    def begin(*words: str) -> Run:
        folder = tmp_path_factory.mktemp("run")
        with (folder / "text").open("w") as text:
            runs.append(Run(ssh.popen(words, stdout=text, stderr=subprocess.STDOUT), folder))
        return runs[-1]

    yield begin
    for run in runs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()
    ssh.assert_clean()


def test_a_command_on_four_hosts(ssh):
    argv = ["dlaunch", "ssh", "--hosts", ",".join(ssh.nodes), "--host", ssh.head, "--wait", "all"]
    done = ssh.run([*argv, "--", "python", "-c", MAP])
    assert done.stdout.split() == [SUM_OF_SQUARES, "4"]
    ssh.assert_clean()


def test_ctrl_c_leaves_nothing(ssh, start):
    run = start("dlaunch", "ssh", "--hosts", ",".join(ssh.nodes), "-n", "8", "--host", ssh.head, "--wait", "all")
    run.until_said("8 workers are there")
    assert run.interrupt() == 0
    ssh.assert_clean(timeout_s=2.0)


def test_kill_9_leaves_nothing(ssh, start):
    words = ["--hosts", ",".join(ssh.nodes), "--host", ssh.head, "--wait", "all", "--name", "killed"]
    run = start("dlaunch", "ssh", *words)
    run.until_said("4 workers are there")
    run.process.kill()
    ssh.assert_clean(timeout_s=60.0)
    ssh.run(["dlaunch", "stop", "killed"])


def test_a_host_with_another_home_folder_gets_the_secret(ssh):
    hosts = f"{ssh.guest}@{ssh.nodes[0]},{ssh.guest}@{ssh.nodes[1]}"
    argv = ["dlaunch", "ssh", "--hosts", hosts, "--host", ssh.head, "--wait", "all", "--", "python", "-c", MAP]
    assert ssh.run(argv).stdout.split() == [SUM_OF_SQUARES, "2"]


def bad_hosts(ssh) -> str:
    return ",".join([*ssh.nodes, ssh.down, "no-such-host.invalid"])


def test_hosts_that_are_down_stop_the_start(ssh):
    done = ssh.run(["dlaunch", "ssh", "--hosts", bad_hosts(ssh), "--host", ssh.head], check=False)
    assert done.returncode == 5
    assert "2 of 6 hosts did not start" in done.stderr
    assert "Could not resolve hostname" in done.stderr
    ssh.assert_clean(timeout_s=2.0)


def test_enough_hosts_are_enough(ssh):
    argv = ["dlaunch", "ssh", "--hosts", bad_hosts(ssh), "--min-hosts", "4", "--wait", "4", "--host", ssh.head]
    done = ssh.run([*argv, "--", "python", "-c", MAP])
    assert done.stdout.split() == [SUM_OF_SQUARES, "4"]
    assert "2 jobs were not taken" in done.stderr
    ssh.assert_clean(timeout_s=2.0)


WRONG = "no-such-host.invalid"


def six_hosts(ssh, down) -> str:
    return ",".join([*ssh.nodes[:3], *down, WRONG])


def test_two_sshds_down_and_a_wrong_name_out_of_six(ssh):
    with ssh.two_down() as down:
        argv = ["dlaunch", "ssh", "--hosts", six_hosts(ssh, down), "--host", ssh.head, "--wait", "3"]
        done = ssh.run([*argv, "--", "python", "-c", MAP], check=False)
        assert done.returncode == 5
        assert_table(done.stderr, ssh, down)
        ssh.assert_clean(timeout_s=2.0)
        done = ssh.run([*argv, "--min-hosts", "4", "--", "python", "-c", MAP], check=False)
        assert done.returncode == 5
        assert_table(done.stderr, ssh, down)
        ssh.assert_clean(timeout_s=2.0)
        done = ssh.run([*argv, "--min-hosts", "3", "--", "python", "-c", MAP])
        assert done.stdout.split() == [SUM_OF_SQUARES, "3"]
        assert "3 jobs were not taken" in done.stderr
        ssh.assert_clean(timeout_s=2.0)


def assert_table(text: str, ssh, down) -> None:
    """A line for each host says what came of it."""
    rows = [line.split(None, 1) for line in text.splitlines()]
    said = {row[0]: row[1] for row in rows if len(row) == 2}
    assert "3 of 6 hosts did not start" in text
    assert all(said[host].startswith("started") for host in ssh.nodes[:3]), text
    assert ["Connection refused" in said[host] for host in down] == [True, True], text
    assert "Could not resolve hostname" in said[WRONG]


def test_dcluster_with_two_sshds_down_and_a_wrong_name_out_of_six(ssh, start):
    with ssh.two_down() as down:
        words = [*six_hosts(ssh, down).split(","), "--nthreads", "1", "--scheduler-port", "8799"]
        done = ssh.run(["dcluster", *words], check=False)
        assert done.returncode == 1
        assert_table(done.stdout, ssh, down)
        ssh.assert_clean(timeout_s=2.0)
        run = start("dcluster", *words, "--min-hosts", "3")
        run.until_said("Registered with center at:", 3)
        assert_table(run.text, ssh, down)
        assert run.interrupt() == 0
        ssh.assert_clean(timeout_s=2.0)


def test_dcluster_as_in_the_founding_document(ssh, start, tmp_path_factory):
    first, last = ssh.addresses[0], ssh.addresses[-1][-1]
    grouped = f"{first[:-1]}{{1,2,3,{last}}}"
    hostfile = ssh.run(["mktemp", "-p", ssh.home]).stdout.strip()
    ssh.run(["tee", hostfile], input="".join(f"{address}\n" for address in ssh.addresses))
    for command in (f"exec dcluster {grouped}", f"exec dcluster --hostfile {hostfile}"):
        run = start("bash", "-c", command)
        run.until_said("Registered with center at:", 4)
        assert f"[ scheduler {first}:8786 ] : Start scheduler at {first}:8786" in run.text
        assert ssh.run(["python", "-c", MAP, f"{first}:8786"]).stdout.split() == [SUM_OF_SQUARES, "4"]
        assert run.interrupt() == 0
        ssh.assert_clean(timeout_s=2.0)
    ssh.run(["rm", hostfile])


def test_dcluster(ssh, start):
    run = start("dcluster", *ssh.addresses, "--nthreads", "1", "--scheduler-port", "8799")
    run.until_said("Registered with center at:", 4)
    address = f"{ssh.addresses[0]}:8799"
    assert f"[ scheduler {address} ] : Start scheduler at {address}" in run.text
    assert ssh.run(["python", "-c", MAP, address]).stdout.split() == [SUM_OF_SQUARES, "4"]
    assert run.interrupt() == 0
    assert "[ dcluster ]: Remote processes have been terminated. Exiting." in run.text
    ssh.assert_clean(timeout_s=2.0)


def test_the_founding_class(ssh):
    first, *others = ssh.addresses
    code = f"""
from distributed import Client
from distributed.cluster import Cluster
with Cluster({first!r}, 8799, {others[:2]!r}, 1) as cluster:
    cluster.add_worker({others[2]!r})
    with Client(cluster) as client:
        while len(client.ncores()) < 3:
            pass
        print(sum(client.gather(client.map(lambda x: x * x, range(10_000)))), len(client.ncores()))
"""
    assert ssh.run(["python", "-W", "error", "-c", code]).stdout.split() == [SUM_OF_SQUARES, "3"]
    ssh.assert_clean(timeout_s=2.0)


def test_kill_9_of_dcluster(ssh, start):
    run = start("dcluster", *ssh.addresses, "--nthreads", "1", "--scheduler-port", "8799")
    run.until_said("Registered with center at:", 4)
    run.process.kill()
    ssh.assert_clean(timeout_s=60.0)


def test_dcluster_with_a_host_that_is_down(ssh):
    done = ssh.run(["dcluster", ssh.addresses[0], ssh.down, "--scheduler-port", "8799"], check=False)
    assert done.returncode == 1
    assert f"SSH connection error when connecting to {ssh.down}" in done.stdout
    ssh.assert_clean(timeout_s=2.0)
