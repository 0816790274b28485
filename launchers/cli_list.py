"""``dlaunch list [NAME]`` and ``dlaunch stop NAME``: clusters seen from another shell."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from typing import Any

import click

from distributed.clusterfile import ClusterFile
from distributed.errors import AuthenticationError, CommError, ConfigError, DistributedError
from distributed.pool import ConnectionPool
from launchers.errors import LauncherError
from launchers.folder import HEAD, ClusterFolder, State, all_folders
from launchers.leftovers import cancel_left
from launchers.protocol import Finder
from launchers.registry import load_launcher

__all__ = ["COMMANDS", "clean_up"]

_ASK_S = 5.0
_STOP_S = 180.0
_POLL_S = 0.2


@click.command("list")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def list_clusters(names: tuple[str, ...]) -> int:
    """List your clusters: name, system, scheduler, workers, and jobs by state.

    With NAMEs list the workers of these clusters too: where each runs, of which job it is, and whether that was
    launched by dlaunch or was submitted by yourself and the worker adopted.
    """
    try:
        folders = [_existing(name) for name in names] or list(all_folders())
        lines = asyncio.run(_list(folders, bool(names)))
    except DistributedError as error:
        sys.stderr.write(f"dlaunch: {error}\n")
        return 1
    if not lines:
        sys.stderr.write("dlaunch: no cluster of yours runs here\n")
    for line in lines:
        print(line)
    return 0


def _existing(name: str) -> ClusterFolder:
    """The folder of a cluster that lives, or died without cleaning up.  Raises ConfigError."""
    folder = ClusterFolder(name)
    if not (folder.cluster_file.exists() or folder.state_file.exists()):
        raise ConfigError(f"there is no cluster {name!r}; dlaunch list shows those there are", key="name", value=name)
    return folder


async def _list(folders: list[ClusterFolder], with_workers: bool) -> list[str]:
    found = await asyncio.gather(*(_describe(folder) for folder in folders))
    return [line for first, workers in found for line in (first, *(_table(workers) if with_workers else ()))]


async def _describe(folder: ClusterFolder) -> tuple[str, dict[str, dict[str, Any]]]:
    """The line of a cluster, and its workers by address."""
    state = folder.read_state()
    system = state.system if state else "by hand"
    try:
        found = ClusterFile.read(folder.cluster_file)
        identity = await _ask(found, found.addresses[0], "identity")
    except (DistributedError, IndexError):
        left = f"; 'dlaunch gc' or 'dlaunch stop {folder.name}' cleans up" if state else ""
        return f"{folder.name:24} {system:8} dead: its scheduler does not answer{left}", {}
    workers: dict[str, dict[str, Any]] = identity["workers"]
    adopted = sum(worker["adopted"] for worker in workers.values())
    told = f"{len(workers)} workers" + (f", {adopted} adopted" if adopted else "")
    if state and state.address and state.system != HEAD:
        with contextlib.suppress(DistributedError):
            report = await _ask(found, state.address, "progress_report")
            told += f"  {report['jobs']} jobs, {report['pending']} pending, {report['running']} running"
            told += f" ({report['reason']})" if report["pending"] and report["reason"] else ""
    return f"{folder.name:24} {system:8} {identity['address']:22} {told}", workers


def _table(workers: dict[str, dict[str, Any]]) -> list[str]:
    """The workers in the order of their names, in columns."""
    rows = [
        (worker["name"], address, worker["host"], str(worker["nthreads"]), worker["job_id"] or "-", _origin(worker))
        for address, worker in sorted(workers.items(), key=lambda item: _numerically(item[1]["name"]))
    ]
    if not rows:
        return []
    rows.insert(0, ("worker", "address", "host", "threads", "job", "origin"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _origin(worker: dict[str, Any]) -> str:
    return "adopted" if worker["adopted"] else "launched"


def _numerically(name: str) -> list[tuple[int, str]]:
    """A key by which 2 comes before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


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
            print(asyncio.run(_stop(_existing(name))), flush=True)
        except DistributedError as error:  # noqa: PERF203 - one bad name does not spare the others
            sys.stderr.write(f"dlaunch: {error}\n")
            code = 1
    return code


async def _stop(folder: ClusterFolder) -> str:
    state = folder.read_state()
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
    lived = False
    with contextlib.suppress(ConfigError):
        for address in ClusterFile.read(folder.cluster_file).addresses[:1]:
            lived = await _terminate(folder, address)
    note = ""
    launched = state is not None and state.system != HEAD
    if state is not None and launched:
        plugin = load_launcher(state.system)
        await cancel_left(plugin, state)
        if state.submitting and not isinstance(plugin, Finder):
            note = f"; {state.system} cannot be searched for the jobs it was submitting: they end soon after they start"
    # Jobs that a user submitted may still wait in a queue: they write their logs there when they start.
    folder.remove(keep_logs=not launched)
    if lived and not launched:
        return f"{folder.name} has ended"
    return f"{folder.name} was dead; what it left is cleaned up{note}"


COMMANDS = {"list": list_clusters, "stop": stop_clusters}
