"""The command ``dscheduler``: one scheduler, until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

import click

from distributed import logs
from distributed.cli.run import run_command, serve_until
from distributed.clusterfile import DEFAULT_CLUSTER, ClusterFile, default_secret, path_of
from distributed.comm import connect
from distributed.errors import CommError, ConfigError
from distributed.network import interface_address, own_addresses
from distributed.scheduler import Scheduler

__all__ = ["main"]

logger = logging.getLogger(__name__)

_PARENT_POLL_S = 0.5
_COLLECT_AFTER = (50_000, 20, 10)
"""Objects that are new, and so many times that is one generation older."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", type=click.IntRange(0, 65535), default=8786, show_default=True, help="0: any free one.")
@click.option("--host", help="Address to listen on and to tell others; default: listen on all, tell the best one.")
@click.option("--interface", metavar="NAME", help="Listen on the address of this network interface, like ib0.")
@click.option(
    "--cluster",
    metavar="NAME",
    help="Publish the address and a secret of its own in ~/.dlaunch/NAME; without, the user's one in default.",
)
@click.option("--cluster-file", type=click.Path(path_type=Path), help="The same, in a file of your choice.")
@click.option(
    "--allowed-failures",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Workers that may die under one task before it is given up.",
)
@click.option("--death-of-parent", is_flag=True, help="End when the process that started this one ends.")
@click.option("--log-level", default=None, metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
@click.version_option(package_name="dlaunch")
def main(log_level: str | None, **options: Any) -> None:
    """Start a scheduler that workers and clients connect to.

    Exit codes: 0 ended as told; 1 could not start, the reason is on stderr; 2 wrong usage; 70 a bug.
    """
    try:
        logs.configure(log_level)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if options["host"] and options["interface"]:
        raise click.UsageError("--host and --interface exclude each other")
    if options["cluster"] and options["cluster_file"]:
        raise click.UsageError("--cluster and --cluster-file exclude each other")
    _collect_seldom()
    sys.exit(run_command("dscheduler", lambda stop: serve(stop, **options)))


def _collect_seldom() -> None:
    """Have the garbage collector look less often at all that a scheduler knows.

    What it finds are the remains of errors; but it was a third of the cost of a task with ten thousand workers, whose
    records it passes over each time.
    """
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


async def serve(
    stop: asyncio.Event,
    *,
    port: int,
    host: str | None,
    interface: str | None,
    cluster: str | None,
    cluster_file: Path | None,
    allowed_failures: int,
    death_of_parent: bool,
) -> int:
    """Run one scheduler until ``stop`` is set, it is terminated or its parent ends; return the exit code."""
    parent = os.getppid()
    if interface:
        host = interface_address(interface)
    named = path_of(cluster) if cluster else cluster_file
    path = named or await _default_path()
    secret = await _secret_for(path) if path and named else default_secret()
    name = cluster or (path.parent.name if path else "")
    scheduler = Scheduler(host=host, secret=secret, name=name, allowed_failures=allowed_failures)
    await scheduler.start(port)
    if path:
        try:
            _publish(scheduler, path, name, everywhere=host is None)
        except ConfigError as error:
            if named:
                raise
            logger.warning("only those who know the address will find this scheduler: %s", error)
    print(f"Start scheduler at {scheduler.address}", flush=True)
    if death_of_parent:
        scheduler.own(_end_with(parent, stop), name="watch the parent")
    try:
        return await serve_until(stop, scheduler)
    finally:
        if path:
            _withdraw(scheduler, path)


async def _secret_for(path: Path) -> bytes:
    """The secret for a cluster file: a dead predecessor's, so that its waiting jobs can still join, or a new one.

    Raises ConfigError if the predecessor is alive.
    """
    if not path.exists():
        return ClusterFile.new("").secret_bytes
    old = ClusterFile.read(path)
    if address := await _living(old):
        raise ConfigError(
            f"the cluster {old.name!r} runs already, its scheduler is at {address}: choose another name, or end it "
            "first",
            key="cluster",
            value=old.name,
        )
    return old.secret_bytes


async def _living(cluster: ClusterFile) -> str:
    """Where the scheduler of a cluster file answers; "" if nowhere."""

    async def answers(address: str) -> bool:
        try:
            await (await connect(address, secret=cluster.secret_bytes, timeout_s=3.0)).close()
        except CommError:
            return False
        return True

    answered = await asyncio.gather(*map(answers, cluster.addresses))
    return next(itertools.compress(cluster.addresses, answered), "")


async def _default_path() -> Path | None:
    """Where a scheduler without a name is published; None if another one is there already."""
    path = path_of(DEFAULT_CLUSTER)
    with contextlib.suppress(ConfigError):  # of a file that is missing, or is none: it is written anew
        if address := await _living(ClusterFile.read(path)):
            logger.info("not published as %s: that is the scheduler at %s", DEFAULT_CLUSTER, address)
            return None
    return path


def _publish(scheduler: Scheduler, path: Path, name: str, everywhere: bool) -> None:
    others = [f"{a}:{scheduler.port}" for a in own_addresses() if ":" not in a] if everywhere else []
    addresses = list(dict.fromkeys([scheduler.address, *others]))
    found = ClusterFile.new(name, addresses, scheduler._secret)
    found.scheduler_id = scheduler.id
    found.host = socket.gethostname()
    found.write(path)


def _withdraw(scheduler: Scheduler, path: Path) -> None:
    """Remove the cluster file if it is still ours."""
    with contextlib.suppress(ConfigError, OSError):
        if ClusterFile.read(path).scheduler_id == scheduler.id:
            path.unlink()


async def _end_with(parent: int, stop: asyncio.Event) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110 - the system has no event for this that works everywhere
        await asyncio.sleep(_PARENT_POLL_S)
    stop.set()


if __name__ == "__main__":
    main()
