"""Where clusters and secrets are kept: ``~/.dlaunch`` (or ``$DLAUNCH_HOME``), readable by its owner alone.

::

    ~/.dlaunch/                     0700
        secret                      0600   the user's own secret, made on first use
        <cluster>/                  0700   one folder per cluster
            cluster.json            0600   addresses and secret of a running cluster

Two daemons of one user on a shared home directory find the same secret without being told.
"""

from __future__ import annotations

import contextlib
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

__all__ = ["ClusterFile", "default_secret", "find", "home", "path_of", "resolve", "running_files"]

SECRET_BYTES = 32
_FILE_NAME = "cluster.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class ClusterFile(msgspec.Struct, forbid_unknown_fields=True):
    """What one needs to join a cluster.

    ``addresses``: candidates ``"ip:port"`` of the scheduler, best first; ``secret``: hexadecimal; ``pid``: of the
    scheduler on ``host``; ``created``: seconds since 1970.
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
        """Return the description of a cluster that this process starts, with a fresh secret unless one is given."""
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
        """Read a cluster file.  Raises ConfigError if it is missing, open to others, or not a cluster file."""
        try:
            _refuse_open(path)
            found = msgspec.json.decode(path.read_bytes(), type=cls)
            bytes.fromhex(found.secret)
        except FileNotFoundError as error:
            raise ConfigError(
                f"there is no cluster file {path}: the cluster has ended, was never started here, or this host does "
                "not share the folder",
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
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_private(path, msgspec.json.format(msgspec.json.encode(self), indent=2))
        except OSError as error:
            raise ConfigError(f"cannot write the cluster file {path}: {error.strerror}", value=str(path)) from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _refuse_open(path: Path) -> None:
    info = path.stat()
    if info.st_uid not in (os.getuid(), 0):
        raise ConfigError(f"{path} belongs to another user (uid {info.st_uid}): it is not safe to use", value=str(path))
    if stat.S_IMODE(info.st_mode) & 0o077:
        raise ConfigError(
            f"{path} can be read by others, so its secret is none: make it private by 'chmod 600 {path}' and start the "
            "cluster anew",
            value=str(path),
        )


def _write_private(path: Path, data: bytes) -> None:
    # mkstemp makes the file 0600 from its first moment.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def home() -> Path:
    """Return the folder of clusters and secrets, made with mode 0700 if missing.  Raises ConfigError."""
    path = Path(os.environ.get("DLAUNCH_HOME") or Path.home() / ".dlaunch")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
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
    path = home() / "secret"
    try:
        if not path.exists():
            _make_secret(path)
        _refuse_open(path)
        secret = bytes.fromhex(path.read_text().strip())
    except OSError as error:
        raise ConfigError(f"cannot use the secret in {path}: {error.strerror}", value=str(path)) from error
    except ValueError as error:
        raise ConfigError(f"{path} does not hold a secret; delete it and it is made anew", value=str(path)) from error
    if len(secret) < SECRET_BYTES:
        raise ConfigError(f"the secret in {path} is too short; delete it and it is made anew", value=str(path))
    return secret


def _make_secret(path: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".secret.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_bytes(SECRET_BYTES).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # somebody else was first: theirs counts
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()


def path_of(name: str) -> Path:
    """Return where the cluster file of ``name`` lies.  Raises ConfigError for a name that cannot be a folder's."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be a cluster's name: use letters, digits, '.', '_' and '-', and start with a letter or "
            "digit",
            key="cluster",
            value=name,
        )
    return home() / name / _FILE_NAME


def running_files() -> list[Path]:
    """Return the cluster files of this user, newest first.  The cluster may have died without removing its file."""
    found = [path for path in home().glob(f"*/{_FILE_NAME}") if path.is_file()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


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

    An explicit ``address`` (``"host:port"``) goes with the secret of the named cluster, or of the cluster that the
    environment names if the address is one of its own, or the user's own secret.  Without an address the addresses
    are empty if nothing names a cluster.  Raises ConfigError.
    """
    path = find(cluster, cluster_file)
    if path is None:
        return ([address] if address else []), default_secret()
    if address and not (cluster or cluster_file):
        with contextlib.suppress(ConfigError):
            found = ClusterFile.read(path)
            if address in found.addresses:
                return [address], found.secret_bytes
        return [address], default_secret()
    found = ClusterFile.read(path)
    return ([address] if address else found.addresses), found.secret_bytes
