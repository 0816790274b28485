"""The batch system of a machine that has none, with real processes that live for a moment."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from launchers import spawn
from tests.aio import until_sync

HOST = socket.gethostname()
STAY = "exec sleep 60"
SUBMIT = ("submit", "--first", "1", "--last", "1", "--name", "j")


@pytest.fixture
def submit(tmp_path):
    """``submit(script, indices)`` starts jobs; whatever is left of them is ended."""
    started: list[str] = []

    def start(script: str, indices=(1,)) -> list[str]:
        ids = spawn.submit(script, indices, "job", str(tmp_path / "job.%.log"))
        started.extend(ids)
        return ids

    yield start
    assert spawn.cancel(started) == []
    for element in started:
        # They were started by this very process, so it has to fetch their ends.
        try:
            os.waitpid(pid_of(element), 0)
        except ChildProcessError:
            continue


def pid_of(element: str) -> int:
    return int(element.split(":")[1])


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def text_of(path: Path, part: str) -> str:
    until_sync(lambda: path.exists() and part in path.read_text())
    return path.read_text()


def test_each_element_is_a_session_with_an_index_and_a_log(submit, tmp_path):
    ids = submit(f'echo "$0 $DLAUNCH_ARRAY_INDEX end"; {STAY}', range(3, 6))
    assert [text_of(tmp_path / f"job.{i}.log", "end") for i in (3, 4, 5)] == [f"job.{i} {i} end\n" for i in (3, 4, 5)]
    assert len(set(ids)) == 3
    assert all(element.startswith(f"{HOST}:") and spawn.is_alive(element) for element in ids)
    assert {os.getsid(pid_of(element)) for element in ids} == {pid_of(element) for element in ids}


def test_stdin_is_empty_and_both_outputs_are_in_the_log(submit, tmp_path):
    submit("cat; echo out; echo err >&2; echo end")
    assert text_of(tmp_path / "job.1.log", "end") == "out\nerr\nend\n"


def test_a_log_is_continued(submit, tmp_path):
    (tmp_path / "job.1.log").write_text("before\n")
    submit("echo end")
    assert text_of(tmp_path / "job.1.log", "end") == "before\nend\n"


def test_a_percent_sign_in_a_folder_stays(tmp_path):
    folder = tmp_path / "50%"
    folder.mkdir()
    (element,) = spawn.submit("echo end", [2], "job", f"{folder}/job.%.log")
    text_of(folder / "job.2.log", "end")
    os.waitpid(pid_of(element), 0)


def test_what_has_ended_is_not_alive(submit):
    (element,) = submit("true")
    until_sync(lambda: not spawn.is_alive(element))


def test_a_number_that_was_given_anew_is_not_alive_and_not_ended(submit):
    (element,) = submit(STAY)
    host, pid, start = element.split(":")
    impostor = f"{host}:{pid}:{int(start) + 1}"
    assert not spawn.is_alive(impostor)
    assert spawn.cancel([impostor]) == []
    assert spawn.is_alive(element)


def test_cancelling_ends_every_process_of_the_session(submit, tmp_path):
    (element,) = submit(f"(sleep 60; true) & echo $! end; {STAY}")
    child = int(text_of(tmp_path / "job.1.log", "end").split()[0])
    assert spawn.cancel([element]) == []
    assert not spawn.is_alive(element)
    until_sync(lambda: is_gone(child))


def test_what_is_left_of_a_session_without_its_leader_is_ended(submit, tmp_path):
    (element,) = submit("sleep 60 & echo $! end")
    child = int(text_of(tmp_path / "job.1.log", "end").split()[0])
    until_sync(lambda: not spawn.is_alive(element))
    os.waitpid(pid_of(element), 0)
    assert not is_gone(child)
    assert spawn.cancel([element]) == []
    until_sync(lambda: is_gone(child))


def test_a_job_may_say_goodbye(submit, tmp_path):
    (element,) = submit("trap 'echo bye; exit' TERM; echo ready; while :; do sleep 0.05; done")
    text_of(tmp_path / "job.1.log", "ready")
    spawn.cancel([element])
    assert "bye" in (tmp_path / "job.1.log").read_text()


def test_a_stubborn_job_is_killed(submit, tmp_path, monkeypatch):
    monkeypatch.setattr(spawn, "TERM_TO_KILL_S", 0.2)
    (element,) = submit("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    text_of(tmp_path / "job.1.log", "ready")
    before = time.monotonic()
    assert spawn.cancel([element]) == []
    assert time.monotonic() - before >= 0.2
    _, status = os.waitpid(pid_of(element), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_if_one_cannot_be_started_none_is_left(tmp_path):
    (tmp_path / "job.3.log").mkdir()
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(IsADirectoryError):
        spawn.submit(STAY, range(1, 5), "job", str(tmp_path / "job.%.log"))
    for child in psutil.Process().children():
        if child.pid not in before:
            _, status = os.waitpid(child.pid, 0)
            assert os.WTERMSIG(status) == signal.SIGTERM


@pytest.mark.parametrize("element", ["", "12", "a:b", f"{HOST}:x:1", f"{HOST}:1:x", f"{HOST}:-1:1", "nowhere:1:1"])
def test_what_is_no_id_of_this_host(element):
    with pytest.raises(ValueError, match=r"is not an id|another host"):
        spawn.is_alive(element)


def main(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", spawn.__file__, *words]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=20)


def test_the_three_verbs(tmp_path):
    log = str(tmp_path / "job.%.log")
    done = main("submit", "--first", "1", "--last", "2", "--name", "job", "--log", log, stdin=STAY)
    ids = done.stdout.split()
    assert (done.returncode, len(ids)) == (0, 2)
    assert main("status", f"{HOST}:1:0", *ids).stdout.split() == ids
    assert (main("cancel", *ids).stdout, main("status", *ids).stdout) == ("", "")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["status", "nonsense"], "is not an id like host:pid:start"),
        (["cancel", "nowhere:1:1"], "is a process of another host"),
        ([*SUBMIT, "--log", "/nonexistent/j.%.log"], "/nonexistent/j.1.log"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_1(words, part, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["spawn", *words])
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert spawn.main() == 1
    said = capsys.readouterr()
    assert part in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
