"""How ends of processes are told."""

from __future__ import annotations

import pytest

from distributed.nanny.orders import Ending, Exited, Listening, Spawned
from distributed.nanny.processes import WorkerProcess, describe_exit


@pytest.mark.parametrize(
    ("code", "words", "text"),
    [
        (0, "", "exit code 0"),
        (3, "the scheduler is gone", "exit code 3: the scheduler is gone"),
        (71, "", "exit code 71: a task has closed the descriptors of its process"),
        (-9, "", "killed by signal 9 (SIGKILL)"),
        (-11, "", "killed by signal 11 (SIGSEGV)"),
        (-50, "", "killed by signal 50"),
    ],
)
def test_ends_in_words(code, words, text):
    assert describe_exit(code, words) == text


def test_a_process_learns_from_reports():
    process = WorkerProcess(1)
    assert process.is_alive
    for report in (Spawned(1, 77), Listening(1, "h:1", "/x"), Ending(1, "bye"), Exited(1, 4)):
        process.take(report)
    assert (process.pid, process.address, process.directory) == (77, "h:1", "/x")
    assert (process.last_words, process.exit_code) == ("bye", 4)
    assert not process.is_alive


def test_the_folder_of_a_dead_worker_is_removed(tmp_path):
    folder = tmp_path / "dworker-x"
    folder.mkdir()
    (folder / "file").write_text("left")
    process = WorkerProcess(1)
    process.clear_up()
    process.take(Listening(1, "h:1", str(folder)))
    process.clear_up()
    process.clear_up()
    assert not folder.exists()
