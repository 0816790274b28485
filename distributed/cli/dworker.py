"""The command ``dworker``: one or more workers, until they are told to end."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from distributed import logs
from distributed.capacity import memory_share, usable_cores
from distributed.cli.options import ADDRESS, DURATION, MEMORY, PORT, RESOURCES, run_click
from distributed.cli.rehearsal import rehearse
from distributed.cli.run import EXIT_FAILED, run_command
from distributed.cli.worker_process import Witness, run_worker, work
from distributed.cli.worker_process import main as serve_workers
from distributed.clusterfile import ClusterFile, find, resolve
from distributed.errors import ConfigError, DistributedError
from distributed.nanny import ForkServer, Nanny, WorkerProcess
from distributed.nanny.daemon import THREAD_VARIABLES
from distributed.nanny.orders import Listening, Registered, Report, WorkerSettings
from distributed.network import interface_address, parse_address, resolve_host
from distributed.sharing.exchange import MODES, chosen_mode
from distributed.units import format_memory

__all__ = ["command", "main"]

logger = logging.getLogger(__name__)

_FILE_LAG_S: Final = 5.0
_LABEL_WIDTH: Final = 28


@click.command("dworker", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("address", type=ADDRESS, required=False)
@click.option("--cluster", metavar="NAME", help="Join the cluster of this name (~/.dlaunch/NAME).")
@click.option("--cluster-file", metavar="PATH", help="Join the cluster that this file describes.")
@click.option("--name", default="", help="The worker's name; with --nprocs its beginning: NAME-0, NAME-1 ...")
@click.option(
    "--nthreads",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Threads per worker; default: the cores we may use, shared among --nprocs.",
)
@click.option(
    "--nprocs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Worker processes.",
)
@click.option(
    "--host",
    help="Address to listen on and to tell others; default: the one that faces the scheduler.",
)
@click.option("--interface", metavar="NAME", help="Use the address of this network interface, like ib0.")
@click.option("--worker-port", type=PORT, default=0, help="The worker's port; default: any free one.")
@click.option("--nanny-port", "--port", type=PORT, default=0, help="The nanny's port; default: any free one.")
@click.option(
    "--nanny/--no-nanny",
    default=True,
    help="Run the worker in a process of its own that is started again when it dies (default).",
)
@click.option(
    "--memory-limit",
    type=MEMORY,
    default="auto",
    show_default=True,
    metavar="SIZE",
    help="Per worker, like 4GB or 4GiB; auto: its fair share; 0: none.",
)
@click.option(
    "--death-timeout",
    type=DURATION,
    default="60s",
    show_default=True,
    metavar="DURATION",
    help="End (exit code 3) when the scheduler is gone for so long; never: wait for ever.",
)
@click.option(
    "--local-directory",
    metavar="DIR",
    help="Where workers keep files; default: the temporary folder.",
)
@click.option(
    "--resources",
    type=RESOURCES,
    default="",
    metavar="NAME=AMOUNT,...",
    help="What tasks may ask for, like GPU=2,licence=1.",
)
@click.option(
    "--shared-memory",
    type=click.Choice(MODES),
    help="How large data go to and come from processes of this host: as read-only views, as views that become copies "
    "where they are written to, or not at all; default: DLAUNCH_SHARED_MEMORY in the environment, else read-only.",
)
@click.option("--job-id", default="", help="The batch system's name for this job, shown beside the worker.")
@click.option("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
@click.version_option(package_name="dlaunch")
def command(log_level: str | None, **options: Any) -> int:
    """Start workers that join the scheduler at ADDRESS (HOST:PORT).

    Without ADDRESS, --cluster or --cluster-file says where it is, or DLAUNCH_CLUSTER_FILE or
    DLAUNCH_CLUSTER in the environment.

    Exit codes: 0 ended as told; 1 could not start or gave up, the reason is on stderr; 2 wrong
    usage; 3 the scheduler was gone for longer than --death-timeout; 70 a bug.
    """
    try:
        logs.configure(log_level)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _check_together(options)
    with_nanny = options.pop("nanny")
    try:
        settings = _settings(log_level=log_level, **options)
    except DistributedError as error:
        print(f"dworker: {error}", file=sys.stderr)
        return EXIT_FAILED
    if with_nanny:
        return _run_nannies(settings, options["nprocs"], options["nanny_port"])
    return _run_alone(settings)


def main() -> None:
    """Run the command line and end the process."""
    run_click(command)


# -- options -> settings ---------------------------------------------------------------


def _check_together(options: dict[str, Any]) -> None:
    """Refuse options that exclude each other.  Raises click.UsageError."""
    several = options["nprocs"] > 1
    if options["host"] and options["interface"]:
        raise click.UsageError("--host and --interface exclude each other")
    if options["cluster"] and options["cluster_file"]:
        raise click.UsageError("--cluster and --cluster-file exclude each other")
    if several and not options["nanny"]:
        raise click.UsageError("--no-nanny runs one worker in this very process: it excludes --nprocs above 1")


def _settings(
    *,
    address: str | None,
    cluster: str | None,
    cluster_file: str | None,
    name: str,
    nthreads: int,
    nprocs: int,
    host: str | None,
    interface: str | None,
    worker_port: int,
    nanny_port: int,
    memory_limit: int | str,
    death_timeout: float | None,
    local_directory: str | None,
    resources: dict[str, float],
    shared_memory: str | None,
    job_id: str,
    log_level: str | None,
) -> WorkerSettings:
    """Return what all workers of this command have in common.  Raises ConfigError."""
    for option, port in (("--worker-port", worker_port), ("--nanny-port", nanny_port)):
        if nprocs > 1 and port:
            raise ConfigError(
                f"{option} {port} names one port for {nprocs} workers: leave it out, and each takes a free one",
                key=option,
                value=port,
            )
    scheduler, secret, path = _find_scheduler(address, cluster, cluster_file, patient=bool(job_id))
    if address:
        resolve_host(parse_address(address)[0])
    nthreads = nthreads or max(1, usable_cores() // nprocs)
    if memory_limit == "auto":
        memory_limit = memory_share(nthreads, nprocs)
    return WorkerSettings(
        scheduler=scheduler,
        secret=secret,
        cluster_file=path,
        host=_own_host(host, interface),
        port=worker_port,
        name=name or None,
        nthreads=nthreads,
        memory_limit=int(memory_limit),
        resources=resources,
        shared_memory=chosen_mode(shared_memory),
        job_id=job_id,
        death_timeout_s=death_timeout,
        local_directory=local_directory,
        log_level=log_level,
    )


def _refuse_port(option: str, port: int, nprocs: int) -> None:
    if port:
        raise ConfigError(
            f"{option} {port} names one port for {nprocs} workers: leave it out, and each takes a free one",
            key=option,
            value=port,
        )


def _own_host(host: str | None, interface: str | None) -> str | None:
    """Return the address to listen on, None for all of them.  Raises ConfigError."""
    if interface:
        return interface_address(interface)
    return resolve_host(host) if host else None


def _find_scheduler(
    address: str | None, cluster: str | None, cluster_file: str | None, patient: bool
) -> tuple[str | None, bytes, str | None]:
    """Return the scheduler's (likeliest) address, the secret and the cluster file to look into.

    Raises ConfigError.
    """
    path = find(cluster, cluster_file)
    if address:
        return address, resolve(address, cluster, cluster_file)[1], None
    if path is None:
        raise ConfigError(
            "which scheduler? Name its address (dworker HOST:PORT), or --cluster NAME, or --cluster-file PATH",
            key="address",
        )
    found = _read_cluster_file(path.absolute(), _FILE_LAG_S if patient else 0.0)
    return next(iter(found.addresses), None), found.secret_bytes, str(path.absolute())


def _read_cluster_file(path: Path, patience_s: float) -> ClusterFile:
    """Read it; in a job it may come late over a network file system.  Raises ConfigError."""
    deadline_s = time.monotonic() + patience_s
    while not path.exists() and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return ClusterFile.read(path)


# -- running ---------------------------------------------------------------------------


def _print(label: str, value: str) -> None:
    try:
        print(f"{label:<{_LABEL_WIDTH}}{value}", flush=True)
    except OSError:
        # Whoever read our lines has gone: no reason to end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _print_listening(address: str) -> None:
    _print("Start worker at:", address)


def _print_registered(scheduler: str) -> None:
    _print("Registered with center at:", scheduler)


def _say_what_starts(settings: WorkerSettings, nprocs: int) -> None:
    logger.info(
        "%d workers, %d threads and %s of memory each; Waiting to connect to: %s",
        nprocs,
        settings.nthreads,
        format_memory(settings.memory_limit) if settings.memory_limit else "any amount",
        settings.scheduler or settings.cluster_file,
    )


def _run_alone(settings: WorkerSettings) -> int:
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, str(settings.nthreads))
    witness = Witness(
        listening=lambda address, _folder: _print_listening(address),
        registered=_print_registered,
        ending=lambda reason: logger.info("ended: %s", reason),
    )
    _say_what_starts(settings, 1)
    code = run_command("dworker", lambda stop: run_worker(settings, stop, witness))
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of user code may never end; the interpreter would wait for them.
    os._exit(code)


def _run_nannies(settings: WorkerSettings, nprocs: int, port: int) -> int:
    fork_server = ForkServer()
    # Now, while there is one thread and no event loop.
    if nprocs > 1:
        rehearse(work)
    fork_server.fork(functools.partial(serve_workers, prepared=True))
    _say_what_starts(settings, nprocs)
    try:
        return run_command("dworker", lambda stop: _nurse(stop, settings, nprocs, port, fork_server))
    finally:
        fork_server.close()


async def _nurse(stop: asyncio.Event, settings: WorkerSettings, nprocs: int, port: int, fork_server: ForkServer) -> int:
    """Run the nannies until all have closed or ``stop`` is set; return the exit code."""
    nannies = [_make_nanny(settings, number, nprocs, fork_server) for number in range(nprocs)]
    try:
        for nanny in nannies:
            nanny.start(port)
        await _ends(nannies, stop)
    finally:
        fork_server.close()
    return max(nanny.exit_code for nanny in nannies)


async def _ends(nannies: list[Nanny], stop: asyncio.Event) -> None:
    """Wait for the ends of the nannies, which begin with ``stop`` at the latest."""
    stopping = asyncio.ensure_future(stop.wait())
    ends = asyncio.gather(*(nanny.finished() for nanny in nannies))
    either: list[asyncio.Future[Any]] = [stopping, ends]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not ends.done():
        await asyncio.gather(*(nanny.close("it was told to end by a signal") for nanny in nannies))
    await ends


def _make_nanny(settings: WorkerSettings, number: int, nprocs: int, fork_server: ForkServer) -> Nanny:
    name = f"{settings.name}-{number}" if settings.name and nprocs > 1 else settings.name
    host, port = parse_address(settings.scheduler) if settings.scheduler else (None, None)
    return Nanny(
        host,
        port,
        settings.host,
        settings.port,
        settings.nthreads,
        local_dir=settings.local_directory,
        name=name,
        secret=settings.secret,
        cluster_file=settings.cluster_file,
        memory_limit=settings.memory_limit,
        resources=settings.resources,
        death_timeout_s=settings.death_timeout_s,
        job_id=settings.job_id,
        shared_memory=settings.shared_memory,
        fork_server=fork_server,
        listener=_print_report,
        log_level=settings.log_level,
    )


def _print_report(_process: WorkerProcess, report: Report) -> None:
    if isinstance(report, Listening):
        _print_listening(report.address)
    elif isinstance(report, Registered):
        _print_registered(report.scheduler)


if __name__ == "__main__":
    main()
