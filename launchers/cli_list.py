"""``dlaunch list`` and ``dlaunch stop NAME``: clusters seen from another shell."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import Any

import click

from distributed.clusterfile import ClusterFile
from distributed.errors import AuthenticationError, CommError, ConfigError, DistributedError
from distributed.pool import ConnectionPool
from launchers.errors import LauncherError
from launchers.folder import ClusterFolder, State, all_folders
from launchers.leftovers import cancel_left
from launchers.protocol import Finder
from launchers.registry import load_launcher

__all__ = ["COMMANDS", "clean_up"]

_ASK_S = 5.0
_STOP_S = 180.0
_POLL_S = 0.2


@click.command("list")
def list_clusters() -> int:
    """List your clusters: name, system, scheduler, workers, and jobs by state."""
    try:
        lines = asyncio.run(_list())
    except DistributedError as error:
        sys.stderr.write(f"dlaunch: {error}\n")
        return 1
    if not lines:
        sys.stderr.write("dlaunch: no cluster of yours runs here\n")
    for line in lines:
        print(line)
    return 0


async def _list() -> list[str]:
    folders = list(all_folders())
    return list(await asyncio.gather(*map(_line, folders)))


async def _line(folder: ClusterFolder) -> str:
    state = folder.read_state()
    system = state.system if state else "by hand"
    try:
        found = ClusterFile.read(folder.cluster_file)
        identity = await _ask(found, found.addresses[0], "identity")
    except (DistributedError, IndexError):
        left = f"; 'dlaunch gc' or 'dlaunch stop {folder.name}' cleans up" if state else ""
        return f"{folder.name:24} {system:8} dead: its scheduler does not answer{left}"
    jobs = ""
    if state and state.address:
        with contextlib.suppress(DistributedError):
            report = await _ask(found, state.address, "progress_report")
            jobs = f"  {report['jobs']} jobs, {report['pending']} pending, {report['running']} running"
            jobs += f" ({report['reason']})" if report["pending"] and report["reason"] else ""
    return f"{folder.name:24} {system:8} {identity['address']:22} {len(identity['workers'])} workers{jobs}"


async def _ask(cluster: ClusterFile, address: str, op: str) -> Any:
    pool = ConnectionPool(cluster.secret_bytes, role="dlaunch", connect_timeout_s=_ASK_S)
    try:
        return await pool.request(address, op, timeout_s=_ASK_S)
    finally:
        await pool.close()


@click.command("stop")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def stop_clusters(names: tuple[str, ...]) -> int:
    """End clusters: cancel their jobs, wait until these are gone, end the scheduler."""
    code = 0
    for name in names:
        try:
            print(asyncio.run(_stop(ClusterFolder(name))), flush=True)
        except DistributedError as error:  # noqa: PERF203 - one bad name does not spare the others
            sys.stderr.write(f"dlaunch: {error}\n")
            code = 1
    return code


async def _stop(folder: ClusterFolder) -> str:
    state = folder.read_state()
    if state is None and not folder.cluster_file.exists():
        raise ConfigError(f"there is no cluster {folder.name!r}; dlaunch list shows those there are", key="name")
    if state is not None and state.address and await _terminate(folder, state.address):
        await _wait_until_released(folder)
        return f"{folder.name} has ended"
    if not folder.try_lock():  # it lives: perhaps somebody else has told it, and it hears nobody any more
        await _wait_until_released(folder)
        return f"{folder.name} has ended"
    return await clean_up(folder, state)


async def _terminate(folder: ClusterFolder, address: str) -> bool:
    """Tell a daemon of the cluster to end; whether it was there to hear it."""
    try:
        await _ask(ClusterFile.read(folder.cluster_file), address, "terminate")
    except (CommError, ConfigError) as error:
        if isinstance(error, AuthenticationError):
            raise
        return False
    return True


async def _wait_until_released(folder: ClusterFolder) -> None:
    deadline = time.monotonic() + _STOP_S
    while folder.state_file.exists():
        if time.monotonic() > deadline:
            raise LauncherError(
                f"the launcher of {folder.name} has not ended within {_STOP_S:g} s; end its process on its host"
            )
        await asyncio.sleep(_POLL_S)


async def clean_up(folder: ClusterFolder, state: State | None) -> str:
    """Do what a launcher that died could not do itself; the caller holds the lock of its folder.

    Raises LauncherError and then leaves the folder as it is, so that it can be tried again.
    """
    with contextlib.suppress(ConfigError):
        for address in ClusterFile.read(folder.cluster_file).addresses[:1]:
            await _terminate(folder, address)
    note = ""
    if state is not None:
        plugin = load_launcher(state.system)
        await cancel_left(plugin, state)
        if state.submitting and not isinstance(plugin, Finder):
            note = f"; {state.system} cannot be searched for the jobs it was submitting: they end soon after they start"
    folder.remove(keep_logs=False)
    return f"{folder.name} was dead; what it left is cleaned up{note}"


COMMANDS = {"list": list_clusters, "stop": stop_clusters}
