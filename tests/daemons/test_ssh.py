"""``dlaunch ssh`` over a played ssh: its keeper, its hosts' small program, and what is left when anything dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path, PurePosixPath

import psutil
import pytest

from launchers.commands import run
from launchers.fakes.ssh import install_ssh
from launchers.hosts import parse_hosts
from launchers.jobs import JobSpec, JobState
from launchers.remote import Remote, starter
from launchers.ssh import SshPlugin
from tests.aio import run_async, until, until_sync

ROOT = Path(__file__).parents[2]
PLUGIN = SshPlugin()
STAY = 'echo "$DLAUNCH_ARRAY_INDEX on $SSH_HOST"; exec sleep 300'


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    fake = install_ssh(tmp_path / "ssh")
    monkeypatch.setenv("PATH", f"{fake.programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield fake
    until_sync(lambda: processes(fake.folder) == [], 30, "nothing is left of the hosts' programs")
    assert list((fake.folder / "tmp").iterdir()) == [], "a temporary folder is left on a host"


def processes(folder: Path) -> list[psutil.Process]:
    """What runs as if on a host: its temporary files would be in ``folder``."""
    mark = f"TMPDIR={folder}/tmp"
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            text = Path(f"/proc/{process.pid}/environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if mark in text.split("\0") and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def assert_gone(ssh) -> None:
    """At once, but for the short sleep of the hosts' program."""
    until_sync(lambda: processes(ssh.folder) == [], 1.0)


def spec(tmp_path, hosts: str, last: int, **own) -> JobSpec:
    own = {"hosts": tuple(parse_hosts([hosts])), **own}
    logs = tmp_path / "logs"
    logs.mkdir(exist_ok=True)
    return JobSpec("c", "c-1", ("true",), PurePosixPath(logs), last=last, own=own, death_timeout_s=5.0)


class Batch:
    """The plugin's commands, run."""

    def __init__(self, spec: JobSpec, script: str = STAY) -> None:
        self.spec = spec
        self.output = asyncio.run(run(PLUGIN.submit_command(script, spec)))
        self.array = PLUGIN.parse_submit(self.output, spec) if self.output.exit_code == 0 else None

    def states(self) -> list[JobState]:
        assert self.array is not None
        ids = list(self.array.elements.values())
        found = PLUGIN.parse_status(asyncio.run(run(PLUGIN.status_command(ids))))
        return [found[element].state for element in ids if element in found]

    def cancel(self, *ids: str) -> None:
        assert asyncio.run(run(PLUGIN.cancel_command(ids))).exit_code == 0

    def log(self, index: int) -> str:
        return Path(self.spec.log_path(index)).read_text()


# -- several hosts ---------------------------------------------------------------------


def test_a_host_that_does_not_start_stops_the_whole_start_and_the_table_says_so(ssh, tmp_path):
    ssh.refuse("n2", "ssh: connect to host n2 port 22: Connection refused")
    ssh.refuse("typo", "ssh: Could not resolve hostname typo: Name or service not known")
    batch = Batch(spec(tmp_path, "n1,n2,n3,typo", 4))
    assert batch.output.exit_code == 1
    assert batch.output.stderr.splitlines() == [
        "2 of 4 hosts did not start, so nothing was left running on any:",
        "n1    started, then ended again",
        "n2    connect to host n2 port 22: Connection refused",
        "n3    started, then ended again",
        "typo  Could not resolve hostname typo: Name or service not known",
    ]
    failure = PLUGIN.explain_failure(batch.output)
    assert not failure.transient
    assert_gone(ssh)


def test_enough_hosts_are_enough(ssh, tmp_path):
    ssh.refuse("n2", "Permission denied (publickey,password).")
    batch = Batch(spec(tmp_path, "n[1-3]", 3, **{"min-hosts": 2}))
    assert batch.array.refused == {2: "n2: Permission denied (publickey,password)."}
    assert sorted(batch.array.elements) == [1, 3]
    batch.cancel(batch.array.id)
    assert_gone(ssh)


@pytest.mark.parametrize(
    "words",
    [
        "kex_exchange_identification: Connection closed by remote host",
        "kex_exchange_identification: read: Connection reset by peer",
        "Connection closed by 10.0.0.1 port 22",
    ],
)
def test_a_host_that_is_throttled_is_asked_again(ssh, tmp_path, words):
    ssh.refuse_once("n1", words)
    batch = Batch(spec(tmp_path, "n1", 1))
    assert batch.states() == [JobState.RUNNING]
    assert len(ssh.calls()) == 2
    batch.cancel(batch.array.id)


@pytest.mark.parametrize(
    "words", ["Host key verification failed.", "ssh: connect to host n1 port 22: No route to host"]
)
def test_what_does_not_pass_is_not_tried_again(ssh, tmp_path, words):
    ssh.refuse("n1", words)
    batch = Batch(spec(tmp_path, "n1", 1))
    assert words.removeprefix("ssh: ") in batch.output.stderr
    assert len(ssh.calls()) == 1


def test_a_host_that_is_down_later_is_the_hosts_fault(ssh, tmp_path):
    ssh.refuse("n2", "ssh: connect to host n2 port 22: Connection refused")
    later = spec(tmp_path, "n[1-2]", 2)
    batch = Batch(JobSpec(**{**vars(later), "first": 2}))
    assert batch.output.exit_code == 0
    assert batch.array.elements == {}
    assert batch.array.refused == {2: "n2: connect to host n2 port 22: Connection refused"}


def test_a_talkative_login_and_another_shell_do_no_harm(ssh, tmp_path):
    ssh.make_noise("Welcome!\nmaintenance on Friday\ndlaunch-0000000000000000 started\n")
    batch = Batch(spec(tmp_path, "n1", 1))
    until_sync(lambda: batch.log(1).endswith("1 on n1\n"))
    assert "maintenance on Friday" in batch.log(1)
    batch.cancel(batch.array.id)


def test_a_host_without_bash_says_so(tmp_path, monkeypatch):
    fake = install_ssh(tmp_path / "ssh", shell="/bin/sh", path="/nonexistent")
    monkeypatch.setenv("PATH", f"{fake.programs}{os.pathsep}{os.environ['PATH']}")
    batch = Batch(spec(tmp_path, "n1", 1))
    assert batch.output.exit_code == 1
    assert "bash: not found" in batch.output.stderr


def test_a_log_that_cannot_be_written_is_told(ssh, tmp_path):
    bad = JobSpec(**{**vars(spec(tmp_path, "n1", 1)), "log_dir": PurePosixPath(tmp_path / "none")})
    batch = Batch(bad)
    assert batch.output.exit_code == 1
    assert "No such file or directory" in batch.output.stderr


# -- the secret ------------------------------------------------------------------------


def test_the_cluster_file_arrives_through_the_connection_and_goes_again(ssh, tmp_path):
    secret = "5ec2e7" * 8
    file = tmp_path / "cluster.json"
    file.write_text(json.dumps({"name": "c", "secret": secret}))
    script = 'file=$DLAUNCH_CLUSTER_FILE; cat "$file"; stat -c "%a %n" "$file" "${file%/*}"; exec sleep 300'
    wanted = JobSpec(**{**vars(spec(tmp_path, "n1", 1)), "cluster_file": PurePosixPath(file)})
    batch = Batch(wanted, script)
    until_sync(lambda: batch.log(1).count("\n") >= 3)
    text, mode, folder_mode = batch.log(1).splitlines()
    assert json.loads(text)["secret"] == secret
    assert mode.startswith("600 ")
    assert folder_mode.startswith("700 ")
    everything = ""
    for process in psutil.process_iter():
        for name in ("cmdline", "environ"):
            try:
                everything += Path(f"/proc/{process.pid}/{name}").read_bytes().decode(errors="replace")
            except OSError:
                continue
    assert f"{ssh.folder}/tmp" in everything
    assert secret not in everything
    assert not any(secret in " ".join(call) for call in ssh.calls())
    batch.cancel(batch.array.id)
    assert not Path(mode.split(" ", 1)[1]).exists()


# -- when something dies ---------------------------------------------------------------


def keepers() -> list[psutil.Process]:
    return [p for p in psutil.process_iter() if _is_keeper(p)]


def _is_keeper(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return len(words) > 5 and "launchers.keeper" in words[3] and words[4] == "keep"


def test_nothing_outlives_the_keeper(ssh, tmp_path):
    before = {p.pid for p in keepers()}
    batch = Batch(spec(tmp_path, "n[1-2]", 2))
    assert batch.states() == [JobState.RUNNING] * 2
    (mine,) = [p for p in keepers() if p.pid not in before]
    mine.kill()
    until_sync(lambda: processes(ssh.folder) == [], 20)
    until_sync(lambda: batch.states() == [])
    socket = Path(tempfile.gettempdir()) / f"dlaunch-ssh-{os.getuid()}" / batch.array.id
    assert not socket.exists()
    batch.cancel(batch.array.id)


def test_nothing_outlives_who_submitted_it(ssh, tmp_path):
    program = f"""
import asyncio, os, signal, sys
from launchers.commands import run
from launchers.jobs import JobSpec
from launchers.protocol import Command
asyncio.run(run(Command(({sys.executable!r}, "-c", "from launchers.keeper import main; main()", "submit"),
                        stdin=sys.stdin.read())))
print("submitted", flush=True)
signal.pause()
"""
    command = PLUGIN.submit_command(STAY, spec(tmp_path, "n[1-2]", 2))
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        owner.stdin.write(command.stdin)
        owner.stdin.close()
        assert owner.stdout.readline() == "submitted\n"
        until_sync(lambda: len(processes(ssh.folder)) >= 4)
        owner.kill()
    until_sync(lambda: processes(ssh.folder) == [], 20)


def test_a_job_that_ignores_the_end_is_ended_by_force_with_its_children(ssh, tmp_path):
    script = "trap '' TERM; setsid sleep 301 & sleep 302 & echo up; while :; do sleep 0.1; done"
    batch = Batch(spec(tmp_path, "n1", 1), script)
    until_sync(lambda: "up" in batch.log(1))
    started = time.monotonic()
    batch.cancel(batch.array.id)
    assert time.monotonic() - started > 5, "it had no time to say goodbye"
    # Also what made a session of its own.
    assert_gone(ssh)


def test_what_a_job_leaves_behind_ends_with_it(ssh, tmp_path):
    batch = Batch(spec(tmp_path, "n1", 1), "setsid sleep 303 & sleep 304 & exit 3")
    until_sync(lambda: batch.states() == [JobState.FAILED])
    assert_gone(ssh)
    batch.cancel(batch.array.id)


def play(silence_s: float = 60.0, script: str = STAY) -> subprocess.Popen:
    text = starter(script, cluster="", index=1, job="j", token="dlaunch-token", silence_s=silence_s)
    process = subprocess.Popen(["bash", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    process.stdin.write(text)
    process.stdin.flush()
    assert process.stdout.readline() == "dlaunch-token started\n"
    return process


def test_a_silent_connection_is_a_dead_one():
    """The network was cut: nobody says that the connection has ended."""
    with play(1.0, script="echo $$; exec sleep 300") as process:
        job = int(process.stdout.readline())
        for _ in range(4):
            time.sleep(0.5)
            process.stdin.write("\n")
            process.stdin.flush()
        assert psutil.pid_exists(job)
        assert process.stdout.readline() == "dlaunch-token ended 143\n"
        assert process.wait(5) == 143
        assert not psutil.pid_exists(job)


def test_the_end_of_a_job_is_told_with_its_exit_code():
    with play(script="exit 7") as process:
        assert process.stdout.readline() == "dlaunch-token ended 7\n"
        assert process.wait(5) == 7


def test_our_lines_are_found_behind_one_that_the_job_did_not_end(ssh, tmp_path):
    batch = Batch(spec(tmp_path, "n1", 1), script="printf 'half a line'; exit 7")
    until_sync(lambda: batch.states() == [JobState.FAILED])
    assert batch.log(1) == "half a line\n"
    batch.cancel(batch.array.id)


def test_a_login_that_hangs_is_given_up(tmp_path, monkeypatch):
    """The client ends at once; what holds the other ends of its pipes does not hold us."""
    monkeypatch.setattr("launchers.remote.START_S", 0.5)
    argv = ["bash", "-c", "sleep 300 & echo $! >pid; wait"]
    monkeypatch.chdir(tmp_path)

    async def life():
        remote = Remote("n1", argv, "", "dlaunch-t", 60.0, lambda line: None)
        assert not await remote.start()
        assert (remote.state, remote.reason) == ("refused", "no answer within 0.5 s")

    try:
        run_async(life())
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_stop_before_the_connection_is_there_ends_it():
    async def life():
        remote = Remote("n1", ["sleep", "60"], "", "dlaunch-t", 60.0, lambda line: None)
        starting = asyncio.ensure_future(remote.start())
        await until(lambda: remote.tries == 1 and remote._process is not None)
        remote.stop()
        remote._kill()
        assert not await starting
        assert remote.state == "cancelled"

    run_async(life())


def test_ssh_that_cannot_be_run_is_told():
    async def life():
        remote = Remote("n1", ["/nonexistent/ssh"], "", "dlaunch-t", 60.0, lambda line: None)
        assert not await remote.start()
        assert remote.reason == "cannot start /nonexistent/ssh: No such file or directory"

    run_async(life())


# -- the command -----------------------------------------------------------------------


def dlaunch(*words: str) -> list[str]:
    return [sys.executable, "-m", "launchers.cli", "ssh", "--host", "127.0.0.1", *words]


def test_a_command_on_two_hosts(ssh, tmp_path):
    code = "from distributed import Client; c = Client(); print(sum(c.gather(c.map(abs, range(-9, 1))))); c.close()"
    (tmp_path / "hosts").write_text("n1 # one\nn2\n")
    options = ["--hostfile", str(tmp_path / "hosts"), "--env", f"PYTHONPATH={ROOT}", "--wait", "all"]
    argv = dlaunch(*options, "--", sys.executable, "-c", code)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "45\n"
    assert "2 of 2 workers registered" in done.stderr
    assert {call[-2] for call in ssh.calls()} == {"n1", "n2"}


def test_ctrl_c_leaves_nothing(ssh, tmp_path):
    argv = dlaunch("--hosts", "n[1-2]", "--env", f"PYTHONPATH={ROOT}", "--wait", "all")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        until_said(process, "2 workers are there")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert_gone(ssh)


def test_kill_9_leaves_nothing(ssh, tmp_path):
    argv = dlaunch("--hosts", "n[1-2]", "--env", f"PYTHONPATH={ROOT}", "--wait", "all", "--name", "gone")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        until_said(process, "2 workers are there")
        process.kill()
    until_sync(lambda: processes(ssh.folder) == [], 30)
    argv = [sys.executable, "-m", "launchers.cli", "stop", "gone"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert "cleaned up" in done.stdout, done.stderr


def until_said(process: subprocess.Popen, text: str) -> None:
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"it ended without {text!r}")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "which hosts? Name them"),
        (["--hosts", "n1", "--min-hosts", "2"], 2, "--min-hosts 2 can never be reached with 1 hosts"),
        (["--hosts", "n[1-"], 2, "is not a host"),
        (["--hosts", "n1", "--queue", "q"], 2, "--queue means nothing"),
        (["--hostfile", "/nonexistent/hosts"], 2, "cannot read the hostfile /nonexistent/hosts: No such file"),
        (["--hosts", "down"], 5, "1 of 1 hosts did not start"),
    ],
)
def test_what_cannot_be(ssh, words, code, said):
    ssh.refuse("down", "ssh: connect to host down port 22: Connection timed out")
    done = subprocess.run(dlaunch(*words), capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
