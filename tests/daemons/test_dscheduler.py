"""The command ``dscheduler`` as a process of its own: printed line, cluster file, signals, exit codes."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import stat

import pytest

from distributed import rpc
from distributed.clusterfile import ClusterFile, default_secret, path_of
from distributed.comm import connect
from distributed.errors import AuthenticationError
from tests.aio import run_async, until_sync
from tests.daemons.nannybed import dworker, gone, program

LOCAL = ("--host", "127.0.0.1", "--port", "0")


def dscheduler(*options):
    return program("-m", "distributed.cli.dscheduler", *options)


@contextlib.contextmanager
def running(*options):
    """A scheduler that has started: its process and address."""
    with dscheduler(*LOCAL, *options) as process:
        line = process.stdout.readline()
        assert line.startswith("Start scheduler at 127.0.0.1:"), line or process.stderr.read()
        yield process, line.split()[-1]


def outcome(*options):
    """The exit code and stderr of a scheduler that cannot start."""
    with dscheduler(*options) as process:
        out, err = process.communicate(timeout=10)
    assert out == ""
    assert "Traceback" not in err
    return process.returncode, err.strip().splitlines()


def secrets_agree(address, secret):
    async def main():
        (await connect(address, secret=secret, timeout_s=5.0)).abort()

    try:
        run_async(main())
    except AuthenticationError:
        return False
    return True


# -- start and end --------------------------------------------------------------------------------


def test_one_line_on_stdout_and_a_scheduler_behind_it():
    with running() as (process, address):
        about = rpc(address).identity()
        assert (about["type"], about["address"], about["pid"]) == ("Scheduler", address, process.pid)
        assert secrets_agree(address, default_secret())
        assert rpc(address).terminate() == "OK"
        assert process.wait(10) == 0
        assert process.stdout.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_exit_code_0(number):
    with running() as (process, _):
        for shrugged in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            process.send_signal(shrugged)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out) == (0, "")
        assert "Traceback" not in err


def test_it_ends_with_workers_and_clients_connected():
    with running() as (process, address), dworker(address, "--host", "127.0.0.1", "--no-nanny") as worker:
        until_sync(lambda: rpc(address).identity()["workers"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert worker.poll() is None  # it waits for a scheduler to come back


@pytest.mark.parametrize("killed", [False, True])
def test_it_ends_with_its_parent_if_told_to(killed):
    start = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'distributed.cli.dscheduler', *sys.argv[1:]])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with program("-c", start, *LOCAL, "--death-of-parent") as parent:
        pid, line = int(parent.stdout.readline()), parent.stdout.readline()
        assert line.startswith("Start scheduler at")
        assert not gone([pid])
        parent.send_signal(signal.SIGKILL if killed else signal.SIGTERM)
        parent.wait(10)
        until_sync(lambda: gone([pid]), what="the scheduler's end")


# -- what it cannot do ------------------------------------------------------------------------------


def test_a_port_in_use_is_one_sentence_and_exit_code_1():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, (line,) = outcome("--host", "127.0.0.1", "--port", str(port))
    assert code == 1
    assert line.startswith(f"dscheduler: port {port} is in use")


def test_a_host_or_interface_that_is_not_ours_is_one_sentence():
    code, (line,) = outcome("--interface", "nope0", "--port", "0")
    assert code == 1
    assert "nope0" in line
    assert "lo" in line  # those that exist
    code, (line,) = outcome("--host", "no.such.host.invalid", "--port", "0")
    assert code == 1
    assert "cannot be resolved" in line
    code, (line,) = outcome("--host", "192.0.2.1", "--port", "0")
    assert code == 1
    assert "192.0.2.1 is not an address of this host" in line


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--port", "abc"], "abc"),
        (["--port", "70000"], "70000"),
        (["--port", "-1"], "-1"),
        (["--host", "127.0.0.1", "--interface", "lo"], "exclude each other"),
        (["--cluster", "x", "--cluster-file", "y"], "exclude each other"),
        (["--allowed-failures", "0"], "0"),
        (["--log-level", "LOUD"], "LOUD"),
        (["--frobnicate"], "--frobnicate"),
        (["extra"], "extra"),
    ],
)
def test_wrong_usage_is_exit_code_2(options, word):
    code, lines = outcome(*options)
    assert code == 2
    assert word in lines[-1]


def test_a_bad_cluster_name_is_one_sentence():
    code, (line,) = outcome(*LOCAL, "--cluster", "../evil")
    assert code == 1
    assert "../evil" in line


# -- the cluster file ---------------------------------------------------------------------------------


def test_a_cluster_is_published_for_its_owner_alone_and_withdrawn():
    path = path_of("mine")
    with running("--cluster", "mine") as (process, address):
        found = ClusterFile.read(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert (found.name, found.addresses, found.pid) == ("mine", [address], process.pid)
        assert found.host == socket.gethostname()
        assert found.secret_bytes != default_secret()
        assert secrets_agree(address, found.secret_bytes)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert not path.exists()


def test_a_strangers_secret_is_one_line_in_the_log():
    with running("--cluster", "mine") as (process, address):
        assert not secrets_agree(address, b"x" * 32)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert len([line for line in err.splitlines() if "refused" in line]) == 1
    assert "another cluster secret" in err


def test_a_file_of_ones_choice_and_the_name_it_gives(tmp_path):
    path = tmp_path / "below" / "here.json"
    with running("--cluster-file", str(path)) as (process, address):
        found = ClusterFile.read(path)
        assert found.addresses == [address]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.write_text(json.dumps({"name": "other", "addresses": [], "secret": "ab", "scheduler_id": "other"}))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert path.exists()  # it is another's by now


def test_a_living_schedulers_name_is_taken():
    with running("--cluster", "mine") as (_, address):
        code, (line,) = outcome(*LOCAL, "--cluster", "mine")
        assert code == 1
        assert "'mine' runs already" in line
        assert address in line
        assert ClusterFile.read(path_of("mine")).addresses == [address]


def test_a_file_that_is_no_cluster_file_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("important")
    path.chmod(0o600)
    code, (line,) = outcome(*LOCAL, "--cluster-file", str(path))
    assert code == 1
    assert "is not a cluster file" in line
    assert path.read_text() == "important"


def test_after_a_crash_the_next_one_has_the_same_secret_and_workers_find_it():
    path = path_of("mine")
    join = ("--cluster", "mine", "--host", "127.0.0.1", "--no-nanny", "--name", "w")
    with running("--cluster", "mine") as (first, address):
        old = ClusterFile.read(path)
        with dworker(*join) as worker:
            assert worker.stdout.readline().startswith("Start worker at:")
            assert worker.stdout.readline().endswith(f"{address}\n")
            first.send_signal(signal.SIGKILL)
            first.wait(10)
            assert path.exists()
            with running("--cluster", "mine") as (second, other):
                new = ClusterFile.read(path)
                assert new.secret == old.secret
                assert (new.pid, new.addresses) == (second.pid, [other])
                until_sync(lambda: rpc(other, secret=new.secret_bytes).identity()["workers"])
                assert worker.poll() is None
