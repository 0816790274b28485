"""The folder of one cluster, ``~/.dlaunch/<cluster>/``, readable by its owner alone.

::

    cluster.json     addresses and secret; written by the scheduler, gone when it ends
    launcher.json    who launches it, and every job that was submitted (before and after each submission)
    jobscript.sh     as rendered
    logs/            one per worker, and the scheduler's
    lock             held while the launcher lives
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import getpass
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from distributed.clusterfile import home, path_of
from distributed.errors import ConfigError

__all__ = ["HEAD", "ArrayRecord", "ClusterFolder", "State", "all_folders", "launched_folders", "log_tail"]

HEAD = "head"
"""The ``system`` of a cluster whose jobs are submitted by their user."""

_UNUSABLE_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class ArrayRecord(msgspec.Struct, forbid_unknown_fields=True):
    """One submitted array: its id and index -> id of the element."""

    id: str
    elements: dict[int, str]


class State(msgspec.Struct, forbid_unknown_fields=True):
    """What a later process must know to find or end a cluster.

    ``job_name``: of its jobs in the batch system; ``submitting``: elements whose submission was under way, like "1-8";
    ``address``: of the launcher daemon; ``created``: seconds since 1970.
    """

    system: str
    name: str
    job_name: str
    log_dir: str
    host: str = ""
    pid: int = 0
    user: str = ""
    created: float = 0.0
    address: str = ""
    submitting: str = ""
    arrays: list[ArrayRecord] = []


class ClusterFolder:
    """The folder of cluster ``name``; making the object touches nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cluster_file = path_of(name)
        self.path = self.cluster_file.parent
        self.state_file = self.path / "launcher.json"
        self.script_file = self.path / "jobscript.sh"
        self.logs = self.path / "logs"
        self._lock: IO[str] | None = None

    @classmethod
    def fresh(cls, system: str) -> ClusterFolder:
        """Return the folder of a new name, like ``slurm-3fa9c1``."""
        while True:
            folder = cls(f"{system}-{secrets.token_hex(3)}")
            if not folder.path.exists():
                return folder

    def claim(self) -> None:
        """Make the folder and hold it for the life of this process.  Raises ConfigError if a launcher has it."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            is_ours = self.try_lock()
        except OSError as error:
            raise ConfigError(
                f"cannot make the cluster's folder {self.path}: {error.strerror}; name another place in the variable "
                "DLAUNCH_HOME",
                key="DLAUNCH_HOME",
                value=str(self.path),
            ) from error
        if not is_ours:
            raise ConfigError(
                f"a cluster named {self.name!r} runs already (dlaunch list shows it): choose another --name, or end it "
                f"by 'dlaunch stop {self.name}'",
                key="name",
                value=self.name,
            )

    def try_lock(self) -> bool:
        """Take the lock and return True; False if another process has it."""
        # Opened for as long as the cluster lives: the lock ends with the process, however it ends.
        lock = (self.path / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _UNUSABLE_LOCKS:
                lock.close()
                return False
        self._lock = lock
        return True

    def unlock(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def new_state(self, system: str, job_name: str, log_dir: Path) -> State:
        """Return the state of a cluster that this process launches."""
        return State(
            system,
            self.name,
            job_name,
            str(log_dir),
            host=socket.gethostname(),
            pid=os.getpid(),
            user=_user(),
            created=time.time(),
        )

    def write_state(self, state: State) -> None:
        """Write ``launcher.json``, whole or not at all.  Raises ConfigError."""
        self._write(self.state_file, msgspec.json.format(msgspec.json.encode(state), indent=2))

    def read_state(self) -> State | None:
        """Return what ``launcher.json`` says, None if there is none or it cannot be understood."""
        try:
            return msgspec.json.decode(self.state_file.read_bytes(), type=State)
        except (OSError, msgspec.MsgspecError):
            return None

    def write_script(self, script: str) -> None:
        """Keep the jobscript for whoever wants to see it.  Raises ConfigError."""
        self._write(self.script_file, script.encode("utf-8", "surrogateescape"))

    def _write(self, path: Path, data: bytes) -> None:
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}", value=str(path)) from error

    def remove(self, *, keep_logs: bool) -> None:
        """Remove what belongs to the living cluster; with ``keep_logs`` logs and jobscript stay."""
        for path in (self.cluster_file, self.state_file):
            with contextlib.suppress(OSError):
                path.unlink()
        if not keep_logs:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                (self.path / "lock").unlink()
        self.unlock()


def all_folders() -> Iterator[ClusterFolder]:
    """Yield the folders of clusters that live, or died without cleaning up."""
    for path in sorted(home().iterdir()):
        if (path / "cluster.json").exists() or (path / "launcher.json").exists():
            yield ClusterFolder(path.name)


def launched_folders() -> Iterator[ClusterFolder]:
    """Yield the folders that launchers made, also those that died before they had written anything."""
    for path in sorted(home().iterdir()):
        if (path / "lock").exists() or (path / "launcher.json").exists():
            yield ClusterFolder(path.name)


def log_tail(path: Path, lines: int = 15, most_bytes: int = 16_384) -> str:
    """Return the last lines of a log, "" if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - most_bytes))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
