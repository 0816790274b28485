"""The worker's own folder and what is uploaded into it."""

from __future__ import annotations

import importlib
import os
import stat
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from distributed.errors import ConfigError
from distributed.worker.files import LocalDirectory, _load


@pytest.fixture
def folder(tmp_path):
    path = list(sys.path)
    folder = LocalDirectory(str(tmp_path / "scratch"))
    yield folder
    folder.remove()
    assert sys.path == path
    for name in ("uploaded_module", "uploaded_package", "uploaded_single"):
        sys.modules.pop(name, None)


def test_the_folder_is_private_and_goes_with_the_worker(folder):
    path = Path(folder.path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (path / "sub").mkdir()
    folder.remove()
    assert not path.exists()
    folder.remove()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="choose another one with --local-directory"):
        LocalDirectory(str(tmp_path / "file"))


def test_the_folder_of_a_killed_worker_is_removed_by_the_next_one_and_no_other(folder):
    parent = Path(folder.path).parent
    orphan, young = parent / "dworker-killed", parent / "dworker-new"
    for path in (orphan, young):
        path.mkdir()
        (path / "file").touch()
    for old in (orphan, Path(folder.path)):
        os.utime(old, (0, 0))
    LocalDirectory(str(parent)).remove()
    assert not orphan.exists()
    assert young.exists()
    assert Path(folder.path).exists()


def test_a_module_is_imported_and_anew_when_it_comes_again(folder, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert folder.upload("uploaded_module.py", b"value = 1") == ["uploaded_module"]
    assert importlib.import_module("uploaded_module").value == 1
    # Same size, same second: only the source tells them apart.
    folder.upload("uploaded_module.py", b"value = 2")
    assert importlib.import_module("uploaded_module").value == 2


def test_two_uploads_of_one_module_at_once(folder):
    # While it imports, a module lets other threads run: here always, elsewhere when it pleases the interpreter.
    source = b"import time\ntime.sleep(0.02)\nvalue = 1"
    with ThreadPoolExecutor(4) as threads:
        uploads = [threads.submit(folder.upload, "uploaded_module.py", source, load=False)]
        uploads += [threads.submit(_load, "uploaded_module") for _ in range(4) if uploads[0].result() == []]
        assert [upload.exception() for upload in uploads] == [None] * 5


def test_an_archive_is_importable(folder, tmp_path):
    path = tmp_path / "lib.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("uploaded_package/__init__.py", "from uploaded_package.part import x")
        archive.writestr("uploaded_package/part.py", "x = 3")
        archive.writestr("uploaded_single.py", "y = 4")
        archive.writestr("notes/readme.txt", "no module")
    names = folder.upload("lib.zip", path.read_bytes())
    assert names == ["uploaded_package", "uploaded_single"]
    assert importlib.import_module("uploaded_package").x == 3


def test_other_files_are_only_stored(folder):
    assert folder.upload("data.csv", b"1,2") == []
    assert Path(folder.path, "data.csv").read_bytes() == b"1,2"
    assert folder.upload("uploaded_module.py", b"raise 1/0", load=False) == []


@pytest.mark.parametrize("name", ["../x.py", "/etc/x", "", ".", "..", "a/b"])
def test_names_do_not_lead_out_of_the_folder(folder, name):
    with pytest.raises(ValueError, match="plain file name"):
        folder.upload(name, b"")


def test_an_import_that_fails_is_the_callers_error(folder):
    with pytest.raises(ZeroDivisionError):
        folder.upload("uploaded_module.py", b"1/0")
