"""One launched cluster from plan to clean end: folder, scheduler process and launcher together.

The command and the Python twin both stand on this.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from distributed.clusterfile import DEFAULT_CLUSTER, ClusterFile
from distributed.errors import ConfigError
from distributed.network import interface_address
from launchers.commands import check_programs, check_system
from launchers.config import Value, resolve_values, user_folder
from launchers.folder import HEAD, ClusterFolder
from launchers.head import SchedulerProcess
from launchers.hosts import Host, parse_hosts, read_hostfile
from launchers.jobs import JobSpec, Variable, Word
from launchers.jobscript import check_directives, render_jobscript
from launchers.launcher import Launcher, Listener
from launchers.leftovers import cancel_left
from launchers.options import Settings, build_settings
from launchers.protocol import Placer, Plugin
from launchers.registry import load_all, load_launcher, own_options, template_folder

__all__ = ["Plan", "Session", "end_predecessor", "make_log_dir", "make_plan", "resolve_settings"]


@dataclass(frozen=True)
class Plan:
    """All that is decided before anything is started: ``script`` is the rendered jobscript."""

    plugin: Plugin
    settings: Settings
    folder: ClusterFolder
    spec: JobSpec
    script: str


def resolve_settings(system: str, given: Mapping[str, Any]) -> Settings:
    """Return the settings of a cluster on ``system``: options, files, defaults.  Raises ConfigError."""
    systems = {name: own_options(plugin) for name, plugin in load_all().items()}
    values: dict[str, Value] = resolve_values(system, given, systems)
    parsed = {key: value.parsed for key, value in values.items()}
    return build_settings(_with_hosts(load_launcher(system), parsed))


def _with_hosts(plugin: Plugin, values: dict[str, Any]) -> dict[str, Any]:
    """The values with the host of each job, and so many jobs, where the user names the hosts.  Raises ConfigError."""
    if not isinstance(plugin, Placer):
        return values
    n, per_job, least = values.get("n"), values["workers-per-job"], values.get("min-hosts")
    try:
        placed = plugin.place(_hosts(values), None if n is None else max(1, n // per_job))
    except ValueError as error:
        raise ConfigError(str(error), key="hosts") from error
    used = len(set(placed))
    if least is not None and least > used:
        raise ConfigError(f"--min-hosts {least} can never be reached with {used} hosts", key="min-hosts", value=least)
    return {**values, "hosts": placed, "n": len(placed) * per_job if n is None else n}


def _hosts(values: Mapping[str, Any]) -> list[Host]:
    """The hosts of the words and of the file.  Raises ConfigError, ValueError."""
    hosts = parse_hosts(values.get("hosts") or ())
    path: Path | None = values.get("hostfile")
    if path is None:
        return hosts
    try:
        return [*hosts, *(host for host in read_hostfile(path.read_bytes()) if host not in hosts)]
    except OSError as error:
        raise ConfigError(f"cannot read the hostfile {path}: {error.strerror}", key="hostfile") from error
    except ValueError as error:
        raise ConfigError(f"the hostfile {path}: {error}", key="hostfile", value=str(path)) from error


def make_plan(system: str, settings: Settings, *, dry_run: bool = False) -> Plan:
    """Return the plan for a cluster; starts, submits and writes nothing.

    With ``dry_run`` the script is for users to submit themselves: its workers join the cluster of that name, else the
    default one, which ``dscheduler`` and ``dlaunch head`` start.  Raises LauncherError and ConfigError.
    """
    plugin = load_launcher(system, settings.via)
    name = settings.name or (DEFAULT_CLUSTER if dry_run else None)
    folder = ClusterFolder(name) if name else ClusterFolder.fresh(system)
    try:
        spec = _spec(plugin, settings, folder, by_hand=dry_run)
        folders = _template_folders(plugin, settings)
        template = settings.template.name if settings.template else None
        script = render_jobscript(plugin, spec, folders, template)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return Plan(plugin, settings, folder, spec, script)


def _template_folders(plugin: Plugin, settings: Settings) -> list[Path]:
    if settings.template is not None and not settings.template.is_file():
        raise ConfigError(f"there is no template {settings.template}", key="template", value=str(settings.template))
    first = [settings.template.parent] if settings.template else []
    own = template_folder(plugin)
    return [*first, user_folder() / "jobscripts", *([own] if own else [])]


def _spec(plugin: Plugin, settings: Settings, folder: ClusterFolder, *, by_hand: bool) -> JobSpec:
    log_dir = settings.log_dir or folder.logs
    # A name made up is unique; one chosen may have been used before, by jobs that are still remembered.  Jobs of the
    # user's own bear the plain one: nobody looks for them by it.
    plain = by_hand or not settings.name
    return JobSpec(
        name=folder.name,
        job_name=folder.name if plain else f"{folder.name}-{secrets.token_hex(2)}",
        command=_worker_command(plugin, settings, folder, by_hand=by_hand),
        log_dir=PurePosixPath(log_dir),
        last=settings.jobs,
        workers_per_job=settings.workers_per_job,
        nthreads=settings.nthreads,
        memory=settings.mem,
        walltime_s=settings.walltime,
        queue=settings.queue,
        account=settings.account,
        directives=check_directives(plugin, settings.directive),
        prologue=settings.prologue,
        env=_environment(settings.env),
        own=settings.own,
        cluster_file=PurePosixPath(folder.cluster_file),
        script_file=PurePosixPath(folder.script_file),
        death_timeout_s=settings.death_timeout,
        by_hand=by_hand,
    )


def _worker_command(plugin: Plugin, settings: Settings, folder: ClusterFolder, *, by_hand: bool) -> tuple[Word, ...]:
    words: list[Word] = [settings.python or sys.executable, "-m", "distributed.cli.dworker"]
    # Where hosts may not share our home folder the job alone knows where its file is.
    file: Word = (Variable.CLUSTER_FILE,) if isinstance(plugin, Placer) else str(folder.cluster_file)
    words += ["--cluster-file", file]
    words += ["--name", (Variable.JOB_ID,) if by_hand else (f"{folder.name}.", Variable.ARRAY_INDEX)]
    words += ["--nthreads", str(settings.nthreads)]
    if settings.workers_per_job > 1:
        words += ["--nprocs", str(settings.workers_per_job)]
    if settings.mem is not None:
        words += ["--memory-limit", str(settings.mem // settings.workers_per_job)]
    words += ["--death-timeout", f"{settings.death_timeout:.12g}s"]
    words += ["--job-id", (Variable.JOB_ID,)]
    return tuple(words)


def _environment(pairs: tuple[tuple[str, str | None], ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in pairs:
        if value is None and key not in os.environ:
            raise ValueError(f"--env {key}: there is no such variable here, so give it a value: {key}=VALUE")
        found[key] = os.environ[key] if value is None else value
    return found


class Session:
    """A cluster that runs.  Made by :meth:`open`; ``launcher`` is its engine, ``address`` the scheduler's."""

    def __init__(self, plan: Plan, scheduler: SchedulerProcess, launcher: Launcher) -> None:
        self.plan = plan
        self.launcher = launcher
        self._scheduler = scheduler
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, plan: Plan, listener: Listener) -> Session:
        """Start the scheduler, then submit; returns when the launcher is at work.

        Raises ConfigError and LauncherError; then nothing is left.
        """
        check_programs(plan.plugin)
        await check_system(plan.plugin)
        settings, folder = plan.settings, plan.folder
        folder.claim()
        await end_predecessor(folder)
        try:
            log_dir = Path(plan.spec.log_dir)
            make_log_dir(log_dir)
            host = interface_address(settings.interface) if settings.interface else settings.host
            host = host or plan.plugin.scheduler_host
            state = folder.new_state(plan.plugin.name, plan.spec.job_name, log_dir)
            folder.write_state(state)
            scheduler = SchedulerProcess(folder.cluster_file, folder.logs / "scheduler.log")
            await scheduler.start(port=settings.port, host=host)
        except BaseException:
            folder.remove(keep_logs=False)
            raise
        try:
            secret = ClusterFile.read(folder.cluster_file).secret_bytes
            launcher = Launcher(
                plan.plugin,
                plan.spec,
                plan.script,
                folder,
                state,
                scheduler.address,
                secret=secret,
                listener=listener,
                host=host,
            )
            await cast("Awaitable[None]", launcher.start(0))
        except BaseException:
            await scheduler.end()
            folder.remove(keep_logs=False)
            raise
        return cls(plan, scheduler, launcher)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.plan.folder.name

    @property
    def address(self) -> str:
        """The scheduler's ``"ip:port"``."""
        return self._scheduler.address

    @property
    def cluster_file(self) -> Path:
        """What clients and workers read to find the scheduler."""
        return self.plan.folder.cluster_file

    @property
    def keeps_logs(self) -> bool:
        """Whether something went wrong, so that the folder's logs stay after the end."""
        return self.launcher.trouble_seen

    async def close(self, reason: str = "closed") -> None:
        """Cancel the jobs, wait until they are gone, end the scheduler, remove the folder.  Idempotent."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close(reason))
        await asyncio.shield(self._closing)

    def hurry(self) -> None:
        """While closing: do not wait for the batch system to carry out what it was told."""
        self.launcher.hurry()

    async def _close(self, reason: str) -> None:
        await self.launcher.close(reason)
        await self._scheduler.end()
        if self.launcher.left:
            # The state stays, so that 'dlaunch stop' can try again.
            with contextlib.suppress(OSError):
                self.cluster_file.unlink()
            self.plan.folder.unlock()
        else:
            self.plan.folder.remove(keep_logs=self.keeps_logs)


async def end_predecessor(folder: ClusterFolder) -> None:
    """Cancel the jobs of a launcher of this name that died: they would look for their cluster here and join ours.

    Raises LauncherError, ConfigError; then the folder stays as it is.
    """
    if not folder.state_file.exists():
        return
    try:
        state = folder.read_state()
        if state is None:
            raise ConfigError(
                f"{folder.state_file} of an earlier cluster cannot be understood: choose another --name, or remove it",
                key="name",
                value=folder.name,
            )
        if state.system != HEAD:
            await cancel_left(load_launcher(state.system), state)
    except BaseException:
        folder.unlock()
        raise


def make_log_dir(path: Path) -> None:
    """Make the folder that jobs write their logs into.  Raises ConfigError if they could not."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = path / f".dlaunch-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"cannot write logs into {path}: {error.strerror}; choose another --log-dir", key="log-dir", value=str(path)
        ) from error
