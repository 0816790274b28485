"""Segments within one process, and what a second descriptor of them allows."""

from __future__ import annotations

import gc
import mmap
import os
import stat
import threading

import numpy as np
import pytest

from distributed.errors import SharedMemoryError
from distributed.payloads import SharedBuffer
from distributed.sharing import segments
from distributed.sharing.segments import fill, live, locate, make_room, open_segment, populate_all
from tests.aio import until_sync
from tests.holders import held


def bytes_of(array):
    return memoryview(array).cast("B")


@pytest.fixture
def array():
    return np.arange(200_000.0)


@pytest.fixture
def stranger(monkeypatch):
    """Forget what this process has mapped: as if another one opened it."""
    monkeypatch.setattr(segments, "_known", {})


def test_it_holds_copies_at_aligned_offsets(array):
    segment, offsets = fill([memoryview(b"abc"), bytes_of(array)])
    assert offsets == [0, 64]
    assert segment.part(0, 3) == b"abc"
    assert np.array_equal(np.frombuffer(segment.part(64, array.nbytes)), array)


def test_it_is_the_users_own_and_cannot_be_written_resized_or_unsealed(array):
    segment, _ = fill([bytes_of(array)])
    about = os.fstat(segment.fd)
    assert stat.S_IMODE(about.st_mode) == 0o600
    assert about.st_uid == os.geteuid()
    with pytest.raises(TypeError):
        segment.part(0, 8)[0] = 1
    writer = os.open(f"/proc/self/fd/{segment.fd}", os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.pwrite(writer, b"x", 0)
        for length in (10, len(segment) + 10):
            with pytest.raises(PermissionError):
                os.ftruncate(writer, length)
        with pytest.raises(PermissionError):
            mmap.mmap(writer, 100)
    finally:
        os.close(writer)


def test_views_keep_it_and_nothing_else_does(array):
    before = held()
    segment, _ = fill([bytes_of(array)])
    token, view = segment.token, np.frombuffer(segment.part(0, array.nbytes))
    (inode,) = held() - before
    del segment
    assert inode in held()
    assert token in {known.token for known in live()}
    del view
    gc.collect()
    assert held() <= before
    assert token not in {known.token for known in live()}


def test_a_buffer_within_is_found_and_one_outside_is_not(array):
    segment, (_, offset) = fill([memoryview(b"abc"), bytes_of(array)])
    inside = np.frombuffer(segment.part(offset, array.nbytes))
    assert locate(bytes_of(inside[5:])) == (segment, offset + 40)
    assert locate(bytes_of(array)) is None


def test_opened_once_more_it_is_the_same_one(array):
    segment, _ = fill([bytes_of(array)])
    assert open_segment(segment.named(0, 8)) is segment


def test_opened_by_another_it_reads_the_same(array, stranger):
    segment, _ = fill([bytes_of(array)])
    segments._known.clear()
    other = open_segment(segment.named(0, array.nbytes))
    assert other is not segment
    assert bytes(other.part(0, array.nbytes)) == array.tobytes()
    with pytest.raises(TypeError):
        other.part(0, 8)[0] = 1


def test_what_is_written_to_a_private_one_is_seen_by_nobody(array):
    segment, _ = fill([bytes_of(array)])
    mine = np.frombuffer(open_segment(segment.named(0, array.nbytes), private=True).part(0, array.nbytes))
    mine[:] = -1
    assert np.array_equal(np.frombuffer(segment.part(0, array.nbytes)), array)
    assert locate(bytes_of(mine)) is None  # others must not be pointed at what is not there


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"pid": 2**22 + 1}, "cannot open the shared memory of process 4194305: No such file"),
        ({"fd": 9999}, "cannot open the shared memory of process"),
        ({"token": b"x" * 16}, "is another segment by now"),
        ({"size": 5000}, "is no segment of ours"),
    ],
)
def test_another_file_is_not_taken_for_it(array, change, complaint, stranger):
    segment, _ = fill([bytes_of(array)])
    segments._known.clear()
    named = segment.named(0, 100)
    for field, value in change.items():
        setattr(named, field, value)
    before = held()
    with pytest.raises(SharedMemoryError, match=complaint):
        open_segment(named)
    assert held() == before


def test_what_is_no_file_of_ours_is_refused(tmp_path, stranger):
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDWR)
    readable = tmp_path / "readable"
    readable.write_bytes(b"x" * 100)
    readable.chmod(0o644)
    file = os.open(readable, os.O_RDONLY)
    try:
        for fd in (pipe, file):
            with pytest.raises(SharedMemoryError, match="is no segment of ours"):
                open_segment(SharedBuffer(os.getpid(), fd, 100, b"x" * 16, 0, 10))
    finally:
        os.close(pipe)
        os.close(file)


def test_a_part_beyond_the_end_is_refused(array):
    segment, _ = fill([bytes_of(array)])
    with pytest.raises(SharedMemoryError, match="are more than a segment of"):
        segment.part(array.nbytes - 8, 100)


def test_room_can_be_written_here_only():
    segment = make_room(10_000)
    mine = np.frombuffer(segment, dtype=np.uint8, count=10_000)
    mine[:] = 7
    assert bytes(segment.part(0, 3)) == b"\7\7\7"
    writer = os.open(f"/proc/self/fd/{segment.fd}", os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.pwrite(writer, b"x", 0)
    finally:
        os.close(writer)


def test_without_memfd_a_file_without_a_name_takes_its_place(array, monkeypatch, stranger):
    def none_here():
        raise OSError(38, "Function not implemented")

    names = set(os.listdir("/dev/shm"))
    monkeypatch.setattr(segments, "_memfd", none_here)
    segment, _ = fill([bytes_of(array)])
    segments._known.clear()
    assert os.readlink(f"/proc/self/fd/{segment.fd}").startswith("/dev/shm/#")
    assert stat.S_IMODE(os.fstat(segment.fd).st_mode) == 0o600
    assert bytes(open_segment(segment.named(0, 80)).part(0, 80)) == array[:10].tobytes()
    assert set(os.listdir("/dev/shm")) == names


def test_the_c_librarys_memfd_is_as_good(array, monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    segment, _ = fill([bytes_of(array)])
    assert os.readlink(f"/proc/self/fd/{segment.fd}").startswith("/memfd:dlaunch")


def test_where_neither_works_the_error_says_so(array, monkeypatch):
    def denied():
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(segments, "_memfd", denied)
    monkeypatch.setattr(segments, "_unnamed_file", denied)
    with pytest.raises(SharedMemoryError, match=r"cannot make a segment of shared memory: .*Operation not permitted"):
        fill([bytes_of(array)])


def test_a_full_file_system_is_an_error_and_leaves_nothing(array, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    before = held()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(SharedMemoryError, match="No space left"):
        fill([bytes_of(array)])
    assert held() == before


@pytest.mark.parametrize("old", [False, True])
def test_populated_pages_are_charged_by_parts(array, monkeypatch, old):
    if old:
        monkeypatch.setattr(segments, "_POPULATE_READ", 999)
    segment, _ = fill([bytes_of(array)])
    assert not segment.populated
    populate_all()
    assert segment.populated
    with open("/proc/self/smaps") as file:
        lines = iter(file)
        mine = next(line for line in lines if "memfd:dlaunch" in line and f" {os.fstat(segment.fd).st_ino} " in line)
        resident = next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
    assert mine
    assert resident * 1024 >= array.nbytes


def test_to_free_a_large_one_does_not_hold_up_whoever_drops_it(monkeypatch):
    closed_in = []
    true_close = os.close
    segment, _ = fill([memoryview(bytes(2**24))])
    monkeypatch.setattr(segments.os, "close", lambda fd: closed_in.append(threading.get_ident()) or true_close(fd))
    del segment
    until_sync(lambda: closed_in, what="the descriptor to be closed")
    assert threading.get_ident() not in closed_in


def test_without_threads_it_is_freed_at_once(monkeypatch):
    def none_left(*args):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    before = held()
    segment, _ = fill([memoryview(bytes(2**24))])
    monkeypatch.setattr(segments._thread, "start_new_thread", none_left)
    del segment
    assert held() == before
