"""The founding class ``distributed.cluster.Cluster`` over a played ssh."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading

import psutil
import pytest

import distributed.cluster
from distributed import Client
from distributed.cluster import Cluster
from distributed.errors import ConfigError
from launchers import ssh_cluster
from launchers.errors import StartFailedError
from tests.aio import until_sync
from tests.daemons.sshbed import ROOT, free_port, use_played_ssh

PYTHON = "/nonexistent/python"


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    fake = use_played_ssh(tmp_path, monkeypatch)
    yield fake
    until_sync(lambda: not left(fake), what="the end of all processes")


def left(fake) -> list[str]:
    """Processes of the logins, by the folder of their temporary files."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == f"{fake.folder}/tmp" and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def until_workers(client: Client, n: int) -> None:
    until_sync(lambda: len(client.ncores()) == n, 30)


def test_its_signature_is_the_founding_one():
    assert Cluster is ssh_cluster.Cluster
    parameters = list(inspect.signature(Cluster).parameters.values())
    positional = [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [name for name, _ in positional[:3]] == ["scheduler_addr", "scheduler_port", "worker_addrs"]
    assert positional[3:] == [
        ("nthreads", 0),
        ("nprocs", 1),
        ("ssh_username", None),
        ("ssh_port", 22),
        ("ssh_private_key", None),
        ("logdir", None),
    ]


def test_from_the_start_to_the_shutdown(ssh, tmp_path, capsys):
    logs = tmp_path / "logs"
    logs.mkdir()
    hosts = ["127.0.0.1", "127.0.0.2"]
    port = free_port()
    with Cluster("127.0.0.1", port, hosts, 1, ssh_username="ada", logdir=str(logs), python=PYTHON) as cluster:
        assert cluster.scheduler_address == f"127.0.0.1:{port}"
        with Client(cluster) as client:
            until_workers(client, 2)
            cluster.add_worker("127.0.0.3")
            until_workers(client, 3)
            assert client.gather(client.map(abs, range(-100, 0))) == [*range(100, 0, -1)]
        monitor = threading.Thread(target=cluster.monitor_remote_processes)
        monitor.start()
        until_sync((logs / "dworker_127.0.0.3.log").exists)
    monitor.join(10)
    assert not monitor.is_alive(), "it ends with the cluster"
    assert cluster.scheduler_address == ""
    said = capsys.readouterr().out
    assert f"[ scheduler 127.0.0.1:{port} ] : Start scheduler at 127.0.0.1:{port}\n" in said
    assert said.count("[ worker 127.0.0.3 ] : Registered with center at:") == 1
    assert len(list(logs.iterdir())) == 4
    assert all("ada" in call for call in ssh.calls())
    cluster.shutdown()
    cluster.monitor_remote_processes()
    with pytest.raises(RuntimeError, match="shut down"):
        cluster.add_worker("127.0.0.4")


def test_a_host_that_does_not_start_is_told_and_nothing_is_left(ssh):
    ssh.refuse("127.0.0.2", "ssh: connect to host 127.0.0.2 port 22: Connection refused")
    with pytest.raises(StartFailedError, match=r"1 of 2 hosts did not start(.|\n)*127.0.0.2  connect to host"):
        Cluster("127.0.0.1", free_port(), ["127.0.0.1", "127.0.0.2"], 1, python=PYTHON)
    until_sync(lambda: not left(ssh))
    with Cluster("127.0.0.1", free_port(), ["127.0.0.1", "127.0.0.2"], 1, min_hosts=1, python=PYTHON) as cluster:
        with pytest.raises(StartFailedError, match="Connection refused"):
            cluster.add_worker("127.0.0.2")
        with Client(cluster) as client:
            until_workers(client, 1)


@pytest.mark.parametrize(
    ("scheduler", "workers", "said"),
    [("a,b", ["c"], "not one host"), ("a", ["-oProxyCommand=x"], "-oProxyCommand"), ("a b", ["c"], "a b")],
)
def test_what_is_no_host_is_refused_before_anything_starts(ssh, scheduler, workers, said):
    with pytest.raises(ConfigError, match=said):
        Cluster(scheduler, 8786, workers)
    assert ssh.calls() == []


def test_a_program_that_forgets_it_leaves_nothing(ssh):
    code = (
        "from distributed.cluster import Cluster\n"
        f"c = Cluster('127.0.0.1', {free_port()}, ['127.0.0.1'], 1, python={PYTHON!r})\n"
        "print(c.scheduler_address)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    until_sync(lambda: not left(ssh), 2.0, "nothing is left but the last tenth of a second of a login's watcher")


def test_without_an_installation_it_says_what_to_do(monkeypatch):
    monkeypatch.delitem(vars(distributed.cluster), "Cluster", raising=False)
    monkeypatch.setattr(distributed.cluster, "entry_points", lambda **_: [])
    with pytest.raises(ImportError, match="install dlaunch"):
        distributed.cluster.Cluster  # noqa: B018
    with pytest.raises(AttributeError):
        distributed.cluster.Nothing  # noqa: B018
