"""``dlaunch gc``: jobs and folders of launchers that were killed, wherever in their lives that was."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import sys

import click
import psutil

from distributed.clusterfile import ClusterFile
from distributed.comm import connect
from distributed.errors import CommError, ConfigError, DistributedError
from launchers.cli_list import clean_up
from launchers.errors import LauncherError
from launchers.folder import ClusterFolder, State, launched_folders

__all__ = ["COMMANDS"]

_ASK_S = 5.0
_STATE_AGE_S = 60.0  # a process begins before it writes its state, by two clocks that may differ a little


class _Life(enum.Enum):
    LIVES = enum.auto()
    DEAD = enum.auto()
    UNKNOWN = enum.auto()


@click.command("gc")
def collect() -> int:
    """Clean up after launchers that were killed: cancel their jobs, remove their folders.

    Jobs are found by the ids that were written down, and by their name where the batch system can be asked for it.
    Clusters that live, and those that dscheduler published without dlaunch, are left alone.
    """
    code, lines = 0, 0
    try:
        folders = list(launched_folders())
    except DistributedError as error:
        sys.stderr.write(f"dlaunch: {error}\n")
        return 1
    for folder in folders:
        try:
            line = asyncio.run(_collect(folder))
        except DistributedError as error:  # noqa: PERF203 - one that fails does not spare the others
            sys.stderr.write(f"dlaunch: {folder.name} stays: {error}\n")
            code, lines = 1, lines + 1
        else:
            lines += bool(line)
            if line:
                print(line, flush=True)
    if not lines:
        sys.stderr.write("dlaunch: there is nothing to clean up\n")
    return code


async def _collect(folder: ClusterFolder) -> str:
    """Clean up what a dead launcher left in one folder; "" if it lives.  Raises DistributedError."""
    try:
        if not folder.try_lock():
            return ""
    except OSError as error:
        raise ConfigError(f"cannot use the folder {folder.path}: {error.strerror}") from error
    try:
        if not folder.state_file.exists():
            return await _remove_rest(folder)
        state = folder.read_state()
        if state is None:
            raise LauncherError(
                f"{folder.state_file} cannot be understood, so its jobs are not known: cancel those whose names begin "
                f"with {folder.name}, then 'dlaunch stop {folder.name}' removes it"
            )
        life = await _life_of(folder, state)
        if life is _Life.UNKNOWN:
            raise LauncherError(
                f"process {state.pid} on {state.host} launched it and cannot be asked from here: run 'dlaunch gc' "
                f"there, or end the cluster by 'dlaunch stop {folder.name}'"
            )
        return await clean_up(folder, state) if life is _Life.DEAD else ""
    finally:
        folder.unlock()


async def _remove_rest(folder: ClusterFolder) -> str:
    """A launcher died before it had written its state, or while it removed the folder: then its jobs were gone.

    "" if a scheduler lives there: one that was started by hand since.
    """
    with contextlib.suppress(ConfigError):
        for address in ClusterFile.read(folder.cluster_file).addresses[:1]:
            if await _answer_of(folder, address) is not _Life.DEAD:
                return ""
    logs = any(path.stat().st_size for path in folder.logs.glob("*.log") if path.name != "scheduler.log")
    folder.remove(keep_logs=logs)
    return f"{folder.name} was dead; {'its logs are kept' if logs else 'what it left is cleaned up'}"


async def _life_of(folder: ClusterFolder, state: State) -> _Life:
    """Whether a launcher lives although nobody holds its lock: some network file systems know no locks."""
    answer = await _answer_of(folder, state.address) if state.address else _Life.UNKNOWN
    if answer is _Life.UNKNOWN and state.host == socket.gethostname():
        return _Life.LIVES if _is_running(state) else _Life.DEAD
    return answer


async def _answer_of(folder: ClusterFolder, address: str) -> _Life:
    try:
        secret = ClusterFile.read(folder.cluster_file).secret_bytes
    except ConfigError:
        secret = b"?"  # it is gone: whoever listens will refuse us
    try:
        connection = await connect(address, secret=secret, timeout_s=_ASK_S, role="dlaunch")
    except CommError as error:
        return _Life.DEAD if isinstance(error.__cause__, ConnectionRefusedError) else _Life.UNKNOWN
    connection.abort()
    return _Life.LIVES


def _is_running(state: State) -> bool:
    """Whether the process that wrote the state is still there; its number may be another one's by now."""
    try:
        process = psutil.Process(state.pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() < state.created + _STATE_AGE_S)
    except psutil.Error:
        return False


COMMANDS = {"gc": collect}
