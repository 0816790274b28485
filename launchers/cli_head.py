"""``dlaunch head``: a scheduler alone, for workers whose jobs their user submits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from typing import Any, cast

import click

from distributed import logs
from distributed.cli.run import run_command, serve_until
from distributed.clusterfile import DEFAULT_CLUSTER, ClusterFile
from distributed.network import interface_address
from launchers.adopter import Adopter
from launchers.cli_start import EXIT_SCHEDULER_LOST, click_option
from launchers.folder import HEAD, ClusterFolder
from launchers.head import SchedulerProcess
from launchers.options import OPTIONS, parse_value
from launchers.progress import ProgressPrinter
from launchers.session import end_predecessor

__all__ = ["COMMANDS"]

_WANTED = ("name", "host", "interface", "port")
_LOG_LEVEL = click.Option(["--log-level"], metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
_HELP = f"""Start a scheduler here, for workers whose jobs you submit yourself; Ctrl-C ends it.

\b
dlaunch slurm -n 8 --dry-run > job.sh      make the jobscript, edit it as you like
sbatch job.sh                              submit it, as often as you like

The cluster is called {DEFAULT_CLUSTER!r} unless --name says otherwise; give the same --name to --dry-run then.
Exit codes: 0 ended as told  1 could not start  2 wrong usage  7 the scheduler died
"""


def _head(log_level: str | None, **given: Any) -> int:
    context = click.get_current_context()
    try:
        logs.configure(log_level or os.environ.get("DLAUNCH_LOG_LEVEL") or "ERROR")
    except ValueError as error:
        raise click.UsageError(str(error), context) from error
    values = {key: parse_value(key, value) for key, value in given.items() if value is not None}
    if values.get("host") and values.get("interface"):
        raise click.UsageError("--host and --interface exclude each other", context)
    folder = ClusterFolder(values.get("name", DEFAULT_CLUSTER))
    return run_command("dlaunch", lambda stop: _run(stop, folder, **values))


async def _run(
    stop: asyncio.Event,
    folder: ClusterFolder,
    *,
    port: int = 0,
    host: str | None = None,
    interface: str | None = None,
    name: str = "",  # noqa: ARG001 - the folder has it
) -> int:
    """Start the scheduler, stay, end it; return the exit code."""
    if interface:
        host = interface_address(interface)
    folder.claim()
    await end_predecessor(folder)
    printer = ProgressPrinter()
    scheduler = SchedulerProcess(folder.cluster_file, folder.logs / "scheduler.log")
    try:
        state = folder.new_state(HEAD, "", folder.logs)
        folder.write_state(state)
        await scheduler.start(port=port, host=host)
        secret = ClusterFile.read(folder.cluster_file).secret_bytes
        adopter = Adopter(scheduler.address, secret=secret, listener=printer, lost_code=EXIT_SCHEDULER_LOST, host=host)
        await cast("Awaitable[None]", adopter.start(0))
        state.address = adopter.address
        folder.write_state(state)
        printer.say(_announcement(folder.name, scheduler.address))
        code = await serve_until(stop, adopter)
        if adopter.progress.adopted and not code:
            printer.tell("the workers end by themselves soon, unless a cluster of this name is started again", False)
        return code
    finally:
        await scheduler.end()
        printer.finish()
        # The logs stay: jobs that still wait in a queue write there when they start.
        folder.remove(keep_logs=True)


def _announcement(name: str, address: str) -> str:
    named = "" if name == DEFAULT_CLUSTER else f" --name {name}"
    return "\n".join(
        [
            f"Cluster {name} at {address}",
            f'Connect by: Client(cluster="{name}"), or Client("{address}")',
            f"Workers: make a jobscript by 'dlaunch SYSTEM -n 8{named} --dry-run > job.sh', and submit it yourself",
        ]
    )


COMMANDS = {
    "head": click.Command(
        "head",
        callback=_head,
        params=[*(click_option(option) for option in OPTIONS if option.key in _WANTED), _LOG_LEVEL],
        help=_HELP,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
}
