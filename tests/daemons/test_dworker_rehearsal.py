"""The rehearsal before the first fork goes well, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time

import pytest

from distributed import logs
from distributed.cli import rehearsal, worker_process
from distributed.nanny import forkserver
from distributed.worker import Worker


def test_it_goes_well_and_leaves_no_thread_file_or_loop(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    rehearsal.rehearse()  # what stays open for good, like the source of random bytes, is open now
    before = sorted(os.listdir("/dev/fd"))
    assert rehearsal.rehearse() is True
    assert threading.active_count() == 1
    assert sorted(os.listdir("/dev/fd")) == before
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_the_code_that_a_worker_runs_is_moved_together():
    before = Worker._start.__code__
    assert rehearsal.rehearse() is True
    after = Worker._start.__code__
    assert after is not before
    assert after == before
    assert sys.getprofile() is None
    assert threading._profile_hook is None


def test_code_that_only_a_forked_process_runs_is_moved_too():
    ends = [forkserver._ForkServer._cut_ties, worker_process._work, logs.configure]
    before = [function.__code__ for function in ends]
    descriptors = sorted(os.listdir("/dev/fd"))
    assert rehearsal.rehearse(worker_process.work) is True
    assert [function.__name__ for function, code in zip(ends, before, strict=True) if function.__code__ is code] == []
    assert sorted(os.listdir("/dev/fd")) == descriptors
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_when_the_forked_one_goes_wrong_nobody_waits(monkeypatch):
    def broken(settings, reporter):
        raise RuntimeError("no")

    monkeypatch.setattr(rehearsal, "_PATIENCE_S", 30.0)
    began = time.monotonic()
    assert rehearsal._run_by_a_fork(broken) == []
    assert time.monotonic() - began < 10


def test_inner_functions_are_moved_with_the_outer_one():
    def outer():
        return (lambda: 7), (lambda: 8)

    one, other = outer()
    old = outer.__code__
    rehearsal._move_together({id(old), id(one.__code__)})
    try:
        assert outer.__code__ is not old
        moved, stayed = outer()
        assert (moved(), stayed()) == (7, 8)
        assert moved.__code__ is not one.__code__
        assert stayed.__code__ is other.__code__
    finally:
        gc.unfreeze()


def test_under_a_profiler_it_goes_without(monkeypatch):
    monkeypatch.setattr(rehearsal, "_called", set())
    seen = []
    sys.setprofile(lambda frame, event, _: seen.append((frame.f_code.co_name, event)))
    try:
        assert rehearsal.rehearse() is True
    finally:
        sys.setprofile(None)
    assert ("_start", "call") in seen
    assert rehearsal._called == set()


def test_it_leaves_logging_as_it_was():
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.root.manager.disable)
    assert rehearsal.rehearse() is True
    assert (root.handlers[:], root.level, logging.root.manager.disable) == before


def test_it_says_nothing_even_when_it_goes_wrong(monkeypatch, capfd):
    monkeypatch.setattr(rehearsal, "_PATIENCE_S", 0.0)
    assert rehearsal.rehearse() is False
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("distributed").isEnabledFor(logging.ERROR)


def test_a_host_without_a_temporary_folder_goes_without(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    assert rehearsal.rehearse() is False
