"""The command ``dcluster``: a scheduler on one host and workers on all of them, over ``ssh``, in the foreground.

What the processes there print comes out here with a prefix that says who spoke.  When this process ends, however it
does, they end too (``remote.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click
import msgspec

from distributed import __version__
from distributed.cli.run import EXIT_FAILED, run_command
from distributed.clusterfile import ClusterFile, default_secret
from distributed.errors import ConfigError
from distributed.units import parse_duration
from launchers.hosts import Host, parse_hosts, read_hostfile
from launchers.remote import TRIES, Remote, starter, table
from launchers.ssh import ssh_argv

__all__ = ["dcluster", "main"]

EXIT_NOT_STARTED = 4
EXIT_SCHEDULER_LOST = 7
_SCHEDULER_S = 60.0
_AT_ONCE = 32
_ADDRESS = "Start scheduler at"
_PORT = click.IntRange(1, 65535)

# The same Python as here where there is one, else the program in PATH.
_SCRIPT = """if [ -x @PYTHON@ ]; then exec @PYTHON@ -m distributed.cli.@PROGRAM@ @OPTIONS@; fi
if command -v @PROGRAM@ >/dev/null; then exec @PROGRAM@ @OPTIONS@; fi
echo "there is neither @PLAIN@ here nor @PROGRAM@ in PATH ($PATH): install dlaunch, or name its Python by --python"
exit 127
"""


@dataclass(frozen=True)
class _Wishes:
    """The options, read: ``scheduler`` is the host that runs it, ``hosts`` those of the workers."""

    scheduler: Host
    hosts: list[Host]
    scheduler_port: int
    nthreads: int
    nprocs: int
    ssh_options: list[str]
    log_directory: Path | None
    min_hosts: int | None
    death_timeout_s: float
    python: str


@click.command("dcluster", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("hostnames", nargs=-1)
@click.option("--scheduler", metavar="HOST", help="Host of the scheduler; default: the first one.")
@click.option("--scheduler-port", type=_PORT, default=8786, show_default=True, help="Port of the scheduler.")
@click.option("--nthreads", type=click.IntRange(0), default=0, help="Threads per worker; default: cores // nprocs.")
@click.option("--nprocs", type=click.IntRange(1), default=1, show_default=True, help="Worker processes on each host.")
@click.option(
    "--hostfile", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Text file with a host a line."
)
@click.option("--ssh-username", metavar="NAME", help="User on the hosts; default: as ssh's configuration says.")
@click.option("--ssh-port", type=_PORT, help="Port of sshd; default: as ssh's configuration says, or 22.")
@click.option("--ssh-private-key", metavar="FILE", help="Private key; default: as ssh's configuration says.")
@click.option(
    "--log-directory",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Keep what each process prints in a file of this folder too.",
)
@click.option("--min-hosts", type=click.IntRange(1), help="Go on with so many hosts; default: all must start.")
@click.option(
    "--death-timeout", default="60s", show_default=True, help="Workers end when the scheduler is gone so long."
)
@click.option("--python", metavar="PATH", help="The Python on the hosts; default: the path of the one here.")
@click.version_option(package_name="dlaunch")
def dcluster(hostnames: tuple[str, ...], hostfile: Path | None, scheduler: str | None, **options: object) -> int:
    """Start a scheduler on the first host and workers on all HOSTNAMES, by ssh; Ctrl-C ends them.

    HOSTNAMES may be like n01, ada@n02:2222 or n[01-04]; in a file slots=4 behind a host means that its workers have 4
    threads in all.

    Exit codes: 0 ended by Ctrl-C or as told; 1 could not start, also if a host cannot be reached; 2 wrong usage; 4 no
    worker is left; 7 the scheduler died.
    """
    context = click.get_current_context()
    try:
        hosts = [*parse_hosts(hostnames), *(read_hostfile(hostfile.read_bytes()) if hostfile else [])]
        hosts = list(dict.fromkeys(hosts))
        first = parse_hosts([scheduler]) if scheduler else hosts[:1]
        wishes = _read(first, hosts, **options)  # type: ignore[arg-type]
    except ValueError as error:
        where = f"{hostfile}: " if hostfile and str(error).startswith(("line ", "it ")) else ""
        raise click.UsageError(f"{where}{error}", context) from error
    if not hosts:
        print(context.get_help())
        return EXIT_FAILED
    return run_command("dcluster", lambda stop: _Cluster(wishes, stop).run())


def _read(
    first: list[Host],
    hosts: list[Host],
    *,
    ssh_username: str | None,
    ssh_port: int | None,
    ssh_private_key: str | None,
    death_timeout: str,
    python: str | None,
    min_hosts: int | None,
    scheduler_port: int,
    nthreads: int,
    nprocs: int,
    log_directory: Path | None,
) -> _Wishes:
    """Raises ValueError."""
    ssh_options = ["-l", ssh_username] if ssh_username else []
    ssh_options += ["-p", str(ssh_port)] if ssh_port else []
    ssh_options += ["-i", str(Path(ssh_private_key).expanduser())] if ssh_private_key else []
    if hosts and min_hosts is not None and min_hosts > len(hosts):
        raise ValueError(f"--min-hosts {min_hosts} can never be reached with {len(hosts)} hosts")
    return _Wishes(
        scheduler=first[0] if first else Host(""),
        hosts=hosts,
        scheduler_port=scheduler_port,
        nthreads=nthreads,
        nprocs=nprocs,
        ssh_options=ssh_options,
        log_directory=log_directory,
        min_hosts=min_hosts,
        death_timeout_s=parse_duration(death_timeout),
        python=python or sys.executable,
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Cluster:
    """One run of the command."""

    def __init__(self, wishes: _Wishes, stop: asyncio.Event) -> None:
        self.wishes = wishes
        self.stop = stop
        self.scheduler: Remote | None = None
        self.workers: list[Remote] = []
        self._address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._files = contextlib.ExitStack()

    async def run(self) -> int:
        """Start all, wait for the end, end all; return the exit code."""
        with self._files:
            self._banner()
            try:
                return await self._work()
            except asyncio.CancelledError:
                return 0
            finally:
                await self._shut_down()

    def _banner(self) -> None:
        hosts = self.wishes.hosts
        nodes = "\n".join(f"  {number}: {host}" for number, host in enumerate(hosts))
        line = "-" * 63
        print(f"{line}\n{f'Distributed v{__version__}':^63}\n\nWorker nodes:\n{nodes}\n")
        print(f"scheduler node: {self.wishes.scheduler.name}:{self.wishes.scheduler_port}\n{line}\n", flush=True)

    async def _work(self) -> int:
        if not await self._start_scheduler():
            return EXIT_FAILED
        if self.stop.is_set():
            return 0
        if not await self._start_workers():
            return EXIT_FAILED
        return await self._watch()

    # -- starting ------------------------------------------------------------------------------------------------

    async def _start_scheduler(self) -> bool:
        wishes, host = self.wishes, self.wishes.scheduler
        options = ["--port", str(wishes.scheduler_port)]
        options += ["--host", host.name] if _is_address(host.name) else []
        label = f"scheduler {host.name}:{wishes.scheduler_port}"
        log = f"dscheduler_{host.name}:{wishes.scheduler_port}.log"
        remote = self.scheduler = self._remote(host, label, log, "dscheduler", options, addresses=[])
        started = asyncio.ensure_future(remote.start())
        await self._first(started)
        if not started.done():
            remote.stop()
        if not await started:
            self._tell_failure(remote)
            return self.stop.is_set()
        ended = asyncio.ensure_future(remote.ended.wait())
        await self._first(self._address, ended, timeout_s=_SCHEDULER_S)
        if self._address.done() or self.stop.is_set():
            return True
        self._tell(f"the scheduler did not start on {host}: see its lines above")
        return False

    async def _start_workers(self) -> bool:
        address = self._address.result()
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def start(remote: Remote) -> bool:
            async with at_once:
                return not self.stop.is_set() and await remote.start()

        self.workers = [self._worker(host, address) for host in self.wishes.hosts]
        starting = asyncio.gather(*map(start, self.workers))
        await self._first(starting)
        if not starting.done():
            return True
        good = sum(starting.result())
        rows = [(remote.host, remote.reason or "started") for remote in self.workers]
        for remote in self.workers:
            if remote.reason:
                self._tell_failure(remote)
        least = len(rows) if self.wishes.min_hosts is None else self.wishes.min_hosts
        if good < len(rows):
            self._tell(f"{len(rows) - good} of {len(rows)} hosts did not start:\n{table(rows)}")
        return good >= least or self.stop.is_set()

    def _worker(self, host: Host, address: str) -> Remote:
        wishes = self.wishes
        nthreads = wishes.nthreads or (max(1, host.slots // wishes.nprocs) if host.slots else 0)
        options = ["--nthreads", str(nthreads), "--nprocs", str(wishes.nprocs)]
        options += ["--host", host.name] if _is_address(host.name) else []
        options += ["--death-timeout", f"{wishes.death_timeout_s:g}s"]
        return self._remote(host, f"worker {host}", f"dworker_{host}.log", "dworker", options, [address])

    def _remote(
        self, host: Host, label: str, log: str, program: str, options: list[str], addresses: list[str]
    ) -> Remote:
        """A process that finds the secret of this user in a cluster file which the connection brings."""
        cluster = msgspec.json.encode(ClusterFile.new("dcluster", addresses, default_secret())).decode()
        values = {
            "@PYTHON@": shlex.quote(self.wishes.python),
            "@PLAIN@": self.wishes.python.translate(str.maketrans("", "", '"$`\\')),
            "@PROGRAM@": program,
            "@OPTIONS@": f'--cluster-file "$DLAUNCH_CLUSTER_FILE" {shlex.join(options)}',
        }
        script = _SCRIPT
        for name, value in values.items():
            script = script.replace(name, value)
        token = f"dlaunch-{secrets.token_hex(8)}"
        silence_s = self.wishes.death_timeout_s
        job = f"dcluster.{secrets.token_hex(4)}@{host}"
        text = starter(script, cluster=cluster, index=1, job=job, token=token, silence_s=silence_s)
        argv = ssh_argv(host, self.wishes.ssh_options)
        return Remote(str(host), argv, text, token, silence_s, self._printer(label, log))

    def _printer(self, label: str, log: str) -> Callable[[bytes], None]:
        file = self._open(log)
        is_scheduler = label.startswith("scheduler ")

        def show(line: bytes) -> None:
            text = line.decode(errors="replace").rstrip()
            print(f"[ {label} ] : {text}", flush=True)
            if file is not None:
                file.write(line)
            if is_scheduler and text.startswith(_ADDRESS) and not self._address.done():
                self._address.set_result(text.split()[-1])

        return show

    def _open(self, name: str) -> IO[bytes] | None:
        if self.wishes.log_directory is None:
            return None
        path = self.wishes.log_directory / name
        try:
            return self._files.enter_context(path.open("ab", buffering=0))
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}", key="log-directory") from error

    # -- while it runs -------------------------------------------------------------------------------------------

    async def _watch(self) -> int:
        """Wait for Ctrl-C, the end of the scheduler, or of the last worker; return the exit code."""
        assert self.scheduler is not None
        head = asyncio.ensure_future(self.scheduler.ended.wait())
        crew = asyncio.gather(*(self._until_gone(remote) for remote in self.workers))
        await self._first(head, crew)
        if self.stop.is_set():
            return 0
        if head.done():
            code = self.scheduler.code
            self._tell(f"the scheduler has ended{f' with exit code {code}' if code else ''} {self.scheduler.reason}")
            return 0 if code == 0 else EXIT_SCHEDULER_LOST
        self._tell("no worker is left")
        return 0 if all(remote.code == 0 for remote in self.workers) else EXIT_NOT_STARTED

    async def _until_gone(self, remote: Remote) -> None:
        await remote.ended.wait()
        if remote.state in ("ended", "lost") and not self.stop.is_set():
            self._tell(remote.reason or f"the worker on {remote.host} has ended with exit code {remote.code}")

    async def _first(self, *waits: asyncio.Future[Any], timeout_s: float | None = None) -> None:
        """Wait for the first of these, or for a signal; what is left over is cancelled at the end."""
        told = asyncio.ensure_future(self.stop.wait())
        await asyncio.wait([*waits, told], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()

    async def _shut_down(self) -> None:
        print("\n[ dcluster ]: Shutting down remote processes (this may take a moment).", flush=True)
        for remotes in (self.workers, [self.scheduler] if self.scheduler else []):
            live = [remote for remote in remotes if remote.state in ("starting", "running")]
            for remote in live:
                remote.stop()
            await asyncio.gather(*(remote.gone() for remote in live))
        print("[ dcluster ]: Remote processes have been terminated. Exiting.", flush=True)

    def _tell(self, text: str) -> None:
        print(f"[ dcluster ] : {text}", flush=True)

    def _tell_failure(self, remote: Remote) -> None:
        tries = f" ({remote.tries} of {TRIES} tries)" if remote.tries > 1 else ""
        self._tell(f"SSH connection error when connecting to {remote.host}: {remote.reason}{tries}")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        code: int = dcluster.main(args=argv, prog_name="dcluster", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
