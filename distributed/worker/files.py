"""The worker's own folder: private, removed at the end, and where uploaded modules are put.

A living worker holds a lock on its folder; a folder that nobody holds was left by a worker that was
killed, and the next one to start beside it removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from distributed.errors import ConfigError

__all__ = ["LocalDirectory"]

_PREFIX = "dworker-"
_YOUNG_S = 60.0
_ARCHIVES = (".egg", ".zip", ".whl")
_loading = threading.Lock()


class LocalDirectory:
    """A folder made with mode 0700 under ``parent`` (default: the system's temporary folder,
    ``$TMPDIR``).

    Raises ConfigError if that is not possible.
    """

    def __init__(self, parent: str | None = None) -> None:
        where = parent or tempfile.gettempdir()
        try:
            os.makedirs(where, exist_ok=True)
            self.path = tempfile.mkdtemp(prefix=_PREFIX, dir=where)
            self._lock = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise ConfigError(
                f"cannot make a folder for the worker in {where}: {error.strerror}; "
                "choose another one with --local-directory",
                key="local-directory",
                value=where,
            ) from error

        with contextlib.suppress(OSError):  # some network file systems know no locks
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_orphans(where)

    def upload(self, filename: str, data: bytes | bytearray | memoryview, load: bool = True) -> list[str]:
        """Write a file into the folder; return the names of the modules that were imported from it.

        ``.py`` files and the top-level modules of ``.zip``, ``.egg`` and ``.whl`` archives are
        imported if ``load``, anew if they were before.  Raises ValueError for a name that is no
        plain file name, OSError, and whatever the import raises.
        """
        if Path(filename).name != filename or filename in {"", ".", ".."}:
            raise ValueError(f"{filename!r} is not a plain file name")
        path = Path(self.path, filename)
        temporary = path.with_name(f".{filename}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(path)  # whole or not at all: two uploads may meet
        # Compiled files are told apart by second and size only: too coarse for an edit and a second
        # upload.
        for compiled in Path(self.path, "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink(missing_ok=True)
        if path.suffix in _ARCHIVES:
            _put_on_path(str(path))
            names = _modules_of(path)
        else:
            _put_on_path(self.path)
            names = [path.stem] if path.suffix == ".py" else []
        if load:
            for name in names:
                _load(name)
        return names if load else []

    def remove(self) -> None:
        """Remove the folder and forget its modules' path.  Idempotent; never raises OSError."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)
        self._lock = -1
        sys.path[:] = [entry for entry in sys.path if not entry.startswith(self.path)]


def _remove_orphans(where: str) -> None:
    """Remove the folders of killed workers of this user.

    A young folder may belong to a worker that is about to lock it.
    """
    # Each of many workers runs this, and pathlib would be code that each has for itself then.
    with os.scandir(where) as entries:
        found = [entry for entry in entries if entry.name.startswith(_PREFIX)]
    for entry in found:
        with contextlib.suppress(OSError):
            info = entry.stat(follow_symlinks=False)
            if info.st_uid != os.getuid() or time.time() - info.st_mtime < _YOUNG_S:
                continue
            lock = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(entry.path, ignore_errors=True)
            finally:
                os.close(lock)


def _put_on_path(entry: str) -> None:
    if entry not in sys.path:
        sys.path.insert(0, entry)
    sys.path_importer_cache.pop(entry, None)
    importlib.invalidate_caches()


def _modules_of(archive: Path) -> list[str]:
    import zipfile  # only for archives

    with zipfile.ZipFile(archive) as file:
        tops = {name.split("/")[0] for name in file.namelist() if name.endswith(".py")}
        packages = {name.split("/")[0] for name in file.namelist() if name.count("/") == 1}
        inits = {top for top in packages if f"{top}/__init__.py" in file.namelist()}
    modules = {top[:-3] for top in tops if top.endswith(".py")} | inits
    return sorted(modules - {"setup", "__main__"})


def _load(name: str) -> None:
    # Several workers in one process would take each other's half imported module away.
    with _loading:
        _load_anew(name)


def _load_anew(name: str) -> None:
    for known in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
        del sys.modules[known]
    importlib.import_module(name)
