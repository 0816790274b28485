"""Where clusters and secrets are kept: ``~/.dlaunch`` (or ``$DLAUNCH_HOME``), its owner's alone.

::

    ~/.dlaunch/                     0700
        secret                      0600   the user's own secret, made on first use
        <cluster>/                  0700   one folder per cluster
            cluster.json            0600   addresses and secret of a running cluster

Two daemons of one user on a shared home directory find the same secret without being told.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import os
import re
import secrets
import socket
import stat
import tempfile
import time
from pathlib import Path

import msgspec

from distributed.errors import ConfigError

__all__ = ["DEFAULT_CLUSTER", "ClusterFile", "default_secret", "find", "home", "path_of", "resolve", "running_files"]

DEFAULT_CLUSTER = "default"
"""The cluster of a scheduler that is started without a name, and of jobscripts that are made without one."""

SECRET_BYTES = 32
_FILE_NAME = "cluster.json"
_SECRET_NAME = "secret"  # noqa: S105 - a file's name
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LARGEST_FILE = 2**20
_SETTLE_S = 2.0
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class ClusterFile(msgspec.Struct):
    """What one needs to join a cluster.

    ``addresses``: candidates ``"ip:port"`` of the scheduler, best first; ``secret``: hexadecimal;
    ``pid``: of the scheduler on ``host``; ``created``: seconds since 1970.
    """

    name: str
    addresses: list[str]
    secret: str
    scheduler_id: str = ""
    pid: int = 0
    host: str = ""
    user: str = ""
    created: float = 0.0

    @classmethod
    def new(cls, name: str, addresses: list[str] | None = None, secret: bytes | None = None) -> ClusterFile:
        """Return the description of a cluster that this process starts.

        With a fresh secret unless one is given.
        """
        return cls(
            name=name,
            addresses=addresses or [],
            secret=(secret or secrets.token_bytes(SECRET_BYTES)).hex(),
            pid=os.getpid(),
            host=socket.gethostname(),
            user=_user(),
            created=time.time(),
        )

    @property
    def secret_bytes(self) -> bytes:
        """The secret as bytes."""
        return bytes.fromhex(self.secret)

    @classmethod
    def read(cls, path: Path) -> ClusterFile:
        """Read a cluster file.

        Raises ConfigError if it is missing (then its cause is a FileNotFoundError), open to
        others, or not a cluster file.
        """
        try:
            found = msgspec.json.decode(_read_private(path), type=cls)
            if not found.secret_bytes:
                raise ValueError("it holds no secret")
        except FileNotFoundError as error:
            raise ConfigError(
                f"there is no cluster file {path}: the cluster has ended, was never started here, "
                "or this host does not share the folder",
                key="cluster-file",
                value=str(path),
            ) from error
        except OSError as error:
            raise ConfigError(f"cannot read the cluster file {path}: {error.strerror}", value=str(path)) from error
        except (msgspec.MsgspecError, ValueError) as error:
            raise ConfigError(f"{path} is not a cluster file: {error}", value=str(path)) from error
        return found

    def write(self, path: Path) -> None:
        """Write the file, readable by its owner alone, whole or not at all.  Raises ConfigError."""
        try:
            _make_folder(path.parent)
            _write_private(path, msgspec.json.format(msgspec.json.encode(self), indent=2))
        except OSError as error:
            raise ConfigError(f"cannot write the cluster file {path}: {error.strerror}", value=str(path)) from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


# -- private files -------------------------------------------------------------------------------------


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)  # whatever the umask took away


def _read_private(path: Path) -> bytes:
    """Read a small file that must be its owner's alone; raises ConfigError if it is not."""
    with path.open("rb") as file:
        info = os.fstat(file.fileno())
        if info.st_uid not in (os.getuid(), 0):
            raise ConfigError(
                f"{path} belongs to another user (uid {info.st_uid}): it is not safe to use",
                value=str(path),
            )
        if stat.S_IMODE(info.st_mode) & 0o077:
            raise ConfigError(
                f"{path} can be read by others, so its secret is none: make it private by "
                f"'chmod 600 {path}' and start the cluster anew",
                value=str(path),
            )
        return file.read(_LARGEST_FILE)


def _write_temporary(path: Path, data: bytes) -> Path:
    # mkstemp makes the file 0600 from its first moment.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)  # whatever the umask took away
            file.write(data)
            file.flush()
            os.fsync(handle)
    except BaseException:
        _remove(Path(name))
        raise
    return Path(name)


def _write_private(path: Path, data: bytes) -> None:
    temporary = _write_temporary(path, data)
    try:
        temporary.replace(path)
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


# -- the user's folder and secret ----------------------------------------------------------------------


def home() -> Path:
    """Return the folder of clusters and secrets, made with mode 0700 if missing.

    Raises ConfigError.
    """
    try:
        path = Path(os.environ.get("DLAUNCH_HOME") or Path.home() / ".dlaunch")
    except RuntimeError as error:
        raise ConfigError(
            "this user has no home folder; name a folder in the variable DLAUNCH_HOME",
            key="DLAUNCH_HOME",
        ) from error
    try:
        _make_folder(path)
        info = path.stat()
        if info.st_uid == os.getuid() and stat.S_IMODE(info.st_mode) & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"cannot use the folder {path}: {error.strerror}; name another one in the variable DLAUNCH_HOME",
            key="DLAUNCH_HOME",
            value=str(path),
        ) from error
    return path


def default_secret() -> bytes:
    """Return this user's own secret, made on first use.  Raises ConfigError.

    Two processes that make it at the same time end with the same one.
    """
    path = home() / _SECRET_NAME
    try:
        secret = _settled_secret(path)
    except OSError as error:
        raise ConfigError(f"cannot use the secret in {path}: {error.strerror}", value=str(path)) from error
    except ValueError as error:
        raise ConfigError(f"{path} does not hold a secret; delete it and it is made anew", value=str(path)) from error
    if len(secret) < SECRET_BYTES:
        raise ConfigError(f"the secret in {path} is too short; delete it and it is made anew", value=str(path))
    return secret


def _settled_secret(path: Path) -> bytes:
    """Read the secret; for a while a short one may be one that is being written."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        try:
            text = _read_private(path)
        except FileNotFoundError:
            _make_secret(path)
            continue
        if len(text.strip()) >= 2 * SECRET_BYTES or time.monotonic() > deadline:
            return bytes.fromhex(text.decode("ascii").strip())
        time.sleep(0.02)


def _make_secret(path: Path) -> None:
    data = secrets.token_hex(SECRET_BYTES).encode() + b"\n"
    temporary = _write_temporary(path, data)
    try:
        with contextlib.suppress(FileExistsError):  # somebody else was first: theirs counts
            try:
                os.link(temporary, path)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                _write_first(path, data)
    finally:
        _remove(temporary)


def _write_first(path: Path, data: bytes) -> None:
    """Write a file unless it exists, on a file system without hard links."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, 0o600)
        file.write(data)


# -- clusters ------------------------------------------------------------------------------------------


def path_of(name: str) -> Path:
    """Return where the cluster file of ``name`` lies.

    Raises ConfigError for a name that cannot be a folder's.
    """
    if not _NAME.fullmatch(name) or name == _SECRET_NAME:
        raise ConfigError(
            f"{name!r} cannot be a cluster's name: use letters, digits, '.', '_' and '-', and "
            f"start with a letter or digit; {_SECRET_NAME!r} is taken",
            key="cluster",
            value=name,
        )
    return home() / name / _FILE_NAME


def running_files() -> list[Path]:
    """Return the cluster files of this user, newest first.

    The cluster may have died without removing its file.
    """
    found: list[tuple[float, Path]] = []
    for path in home().glob(f"*/{_FILE_NAME}"):
        with contextlib.suppress(OSError):  # it has just been removed
            found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found, reverse=True)]


def find(cluster: str | None = None, cluster_file: str | Path | None = None) -> Path | None:
    """Return the cluster file that the arguments or else the environment name, None if they name none.

    The environment's names are ``DLAUNCH_CLUSTER_FILE`` and ``DLAUNCH_CLUSTER``.
    """
    if cluster_file or cluster:
        return Path(cluster_file) if cluster_file else path_of(str(cluster))
    if named := os.environ.get("DLAUNCH_CLUSTER_FILE"):
        return Path(named)
    if named := os.environ.get("DLAUNCH_CLUSTER"):
        return path_of(named)
    return None


def resolve(
    address: str | None = None, cluster: str | None = None, cluster_file: str | Path | None = None
) -> tuple[list[str], bytes]:
    """Return the scheduler's candidate addresses and the secret to use.

    An explicit ``address`` (``"host:port"``) goes with the secret of the named cluster, else of the
    cluster of this user whose scheduler is there by its cluster file, else with the user's own.
    Without an address the addresses are empty if nothing names a cluster.  Raises ConfigError.
    """
    path = find(cluster, cluster_file)
    if address and not (cluster or cluster_file):
        return [address], _secret_of(address, path)
    if path is None:
        return [], default_secret()
    found = ClusterFile.read(path)
    return ([address] if address else found.addresses), found.secret_bytes


def _secret_of(address: str, named: Path | None) -> bytes:
    """The secret for an address: of the first cluster file that has it, else the user's own."""
    for path in [*([named] if named else []), *running_files()]:
        with contextlib.suppress(ConfigError):
            found = ClusterFile.read(path)
            ports = {known.rpartition(":")[2] for known in found.addresses}
            host, _, port = address.rpartition(":")
            if address in found.addresses or (host == found.host and port in ports):
                return found.secret_bytes
    return default_secret()
