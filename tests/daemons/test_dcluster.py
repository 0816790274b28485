"""``dcluster`` over a played ssh."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.daemons.sshbed import free_port, use_played_ssh

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    return use_played_ssh(tmp_path, monkeypatch)


@pytest.fixture
def port():
    return str(free_port())


def dcluster(*words: str) -> list[str]:
    return [sys.executable, "-m", "launchers.cli_dcluster", *words, "--python", "/nonexistent/python"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(dcluster(*words), capture_output=True, text=True, timeout=50, check=False)


def until_said(process, word: str, times: int) -> str:
    text = ""
    for line in process.stdout:
        text += line
        if text.count(word) >= times:
            return text
    raise AssertionError(f"it ended without {word!r}:\n{text}")


def test_from_the_banner_to_the_last_line(ssh, port, tmp_path):
    (tmp_path / "hosts").write_text("\ufeff# hosts\r\n127.0.0.1 slots=2\r\n\r\n127.0.0.2\r\n127.0.0.2\r\n")
    logs = tmp_path / "logs"
    logs.mkdir()
    words = ["--hostfile", str(tmp_path / "hosts"), "--scheduler-port", port, "--log-directory", str(logs)]
    words += ["--ssh-username", "ada", "--ssh-port", "2222", "--ssh-private-key", "/k", "--nprocs", "1"]
    with subprocess.Popen(dcluster(*words), stdout=subprocess.PIPE, text=True) as process:
        text = until_said(process, "Registered with center at:", 2)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 0
    assert "Distributed v" in text
    assert "Worker nodes:\n  0: 127.0.0.1\n  1: 127.0.0.2\n\n" in text
    assert f"scheduler node: 127.0.0.1:{port}\n" in text
    assert f"[ scheduler 127.0.0.1:{port} ] : Start scheduler at 127.0.0.1:{port}\n" in text
    assert "[ worker 127.0.0.2 ] : Start worker at:" in text
    assert "[ dcluster ]: Shutting down remote processes (this may take a moment).\n" in rest
    assert rest.endswith("[ dcluster ]: Remote processes have been terminated. Exiting.\n")
    assert sorted(path.name for path in logs.iterdir()) == [
        f"dscheduler_127.0.0.1:{port}.log",
        "dworker_127.0.0.1.log",
        "dworker_127.0.0.2.log",
    ]
    assert "2 threads" in (logs / "dworker_127.0.0.1.log").read_text()
    assert list((ssh.folder / "tmp").iterdir()) == []
    for call in ssh.calls():
        assert [call[call.index(option) + 1] for option in ("-l", "-p", "-i")] == ["ada", "2222", "/k"]


def test_one_bad_host_stops_all_of_it(ssh, port):
    ssh.refuse("127.0.0.2", "ada@127.0.0.2: Permission denied (publickey).")
    done = run("127.0.0.1", "127.0.0.2", "--scheduler-port", port)
    assert done.returncode == 1
    said = "SSH connection error when connecting to 127.0.0.2: ada@127.0.0.2: Permission denied (publickey)."
    assert f"[ dcluster ] : {said}" in done.stdout
    assert "[ dcluster ] : 1 of 2 hosts did not start:\n127.0.0.1  started\n127.0.0.2  ada@" in done.stdout
    assert done.stdout.endswith("Remote processes have been terminated. Exiting.\n")


def test_a_scheduler_host_that_is_down_stops_it(ssh, port):
    ssh.refuse("head", "ssh: Could not resolve hostname head: Name or service not known")
    done = run("127.0.0.1", "--scheduler", "head", "--scheduler-port", port)
    assert done.returncode == 1
    assert "connecting to head: Could not resolve hostname head" in done.stdout
    assert "worker" not in done.stdout.partition("scheduler node:")[2].partition("[")[2]


def test_a_throttled_host_is_tried_three_times(ssh, port):
    ssh.refuse("127.0.0.1", "kex_exchange_identification: Connection closed by remote host")
    done = run("127.0.0.1", "--scheduler-port", port)
    assert done.returncode == 1
    assert "(3 of 3 tries)" in done.stdout


def test_a_host_without_the_programs_says_so(ssh, port, tmp_path):
    (tmp_path / "bin" / "dscheduler").unlink()
    done = run("127.0.0.1", "--scheduler-port", port)
    assert done.returncode == 1
    assert "there is neither /nonexistent/python here nor dscheduler in PATH" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 1, "Usage: dcluster"),
        (["n[2-1]"], 2, "runs backwards"),
        (["--hostfile", "/nonexistent"], 2, "does not exist"),
        (["n1", "--log-directory", "/nonexistent"], 2, "does not exist"),
        (["n1", "--min-hosts", "2"], 2, "--min-hosts 2 can never be reached with 1 hosts"),
        (["n1", "--death-timeout", "soon"], 2, "soon"),
    ],
)
def test_what_cannot_be(words, code, said):
    done = run(*words)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def test_an_empty_hostfile_is_no_request_for_help(tmp_path):
    (tmp_path / "hosts").write_text("# none\n")
    done = run("--hostfile", str(tmp_path / "hosts"))
    assert done.returncode == 2
    assert "it names no host" in done.stderr


def test_a_scheduler_that_dies_ends_it_all(ssh, port):
    with subprocess.Popen(
        dcluster("127.0.0.1", "127.0.0.2", "--scheduler-port", port), stdout=subprocess.PIPE, text=True
    ) as process:
        until_said(process, "Registered with center at:", 2)
        (scheduler,) = [p for p in psutil.process_iter(["cmdline"]) if is_scheduler(p.info["cmdline"] or [], port)]
        scheduler.kill()
        rest = process.stdout.read()
        assert process.wait(30) == 7
    assert rest.endswith("Remote processes have been terminated. Exiting.\n")
    assert list((ssh.folder / "tmp").iterdir()) == []


def is_scheduler(words: list[str], port: str) -> bool:
    return "distributed.cli.dscheduler" in words and port in words and "bash" not in words[0]
