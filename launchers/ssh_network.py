"""A scheduler on one host and workers on many, over ``ssh``: what ``dcluster`` and its Python twin run.

What the processes there print comes out here with a prefix that says who spoke.  When this process ends, however it
does, they end too (``remote.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from distributed import __version__
from distributed.cli.run import EXIT_FAILED
from distributed.clusterfile import ClusterFile, default_secret
from distributed.errors import ConfigError
from launchers.hosts import Host
from launchers.remote import TRIES, Remote, starter, table
from launchers.ssh import ssh_argv

__all__ = ["SshNetwork", "Wishes"]

_SCHEDULER_S = 60.0
_AT_ONCE = 32
_ADDRESS = "Start scheduler at"

EXIT_NOT_STARTED = 4
EXIT_SCHEDULER_LOST = 7

# The same Python as here where there is one, else the program in PATH.
_SCRIPT = """if [ -x @PYTHON@ ]; then exec @PYTHON@ -m distributed.cli.@PROGRAM@ @OPTIONS@; fi
if command -v @PROGRAM@ >/dev/null; then exec @PROGRAM@ @OPTIONS@; fi
echo "there is neither @PLAIN@ here nor @PROGRAM@ in PATH ($PATH): install dlaunch, or name its Python by --python"
exit 127
"""


@dataclass(frozen=True)
class Wishes:
    """What the network shall be.

    ``scheduler`` is the host that runs it, ``hosts`` those of the workers; ``nthreads`` 0: by the host's cores;
    ``ssh_options``: words for every ``ssh``; ``min_hosts``: so many must start, None: all; ``python``: its path there.
    """

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


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class SshNetwork:
    """One network; ``say`` gets each line that is to be shown, ``stop`` ends the waiting.

    ``problem`` is what went wrong last, in words; ``address`` the scheduler's once it has started.
    """

    def __init__(self, wishes: Wishes, stop: asyncio.Event, say: Callable[[str], None]) -> None:
        self.wishes = wishes
        self.stop = stop
        self.problem = ""
        self._say = say
        self.scheduler: Remote | None = None
        self.workers: list[Remote] = []
        self._address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._followers: set[asyncio.Task[None]] = set()
        self._files = contextlib.ExitStack()

    @property
    def address(self) -> str:
        """The scheduler's ``"ip:port"``; "" before it has started."""
        return self._address.result() if self._address.done() else ""

    async def run(self) -> int:
        """Start all, wait for the end, end all; return the exit code."""
        self._banner()
        try:
            return await self._work()
        except asyncio.CancelledError:
            return 0
        finally:
            await self.shut_down()

    def _banner(self) -> None:
        hosts = self.wishes.hosts
        nodes = "\n".join(f"  {number}: {host}" for number, host in enumerate(hosts))
        line = "-" * 63
        self._say(f"{line}\n{f'Distributed v{__version__}':^63}\n\nWorker nodes:\n{nodes}\n")
        self._say(f"scheduler node: {self.wishes.scheduler.name}:{self.wishes.scheduler_port}\n{line}\n")

    async def _work(self) -> int:
        if not await self.start_scheduler():
            return EXIT_FAILED
        if self.stop.is_set():
            return 0
        if not await self.start_workers():
            return EXIT_FAILED
        return await self.watch()

    # -- starting ------------------------------------------------------------------------------------------------

    async def start_scheduler(self) -> bool:
        """Start it and wait for its address; False if it cannot be, True also if ``stop`` was set meanwhile."""
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

    async def start_workers(self) -> bool:
        """Start those of all hosts; False if too few did start, True also if ``stop`` was set meanwhile."""
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def start(remote: Remote) -> bool:
            async with at_once:
                return not self.stop.is_set() and await remote.start()

        self.workers = [self._worker(host) for host in self.wishes.hosts]
        starting = asyncio.gather(*map(start, self.workers))
        await self._first(starting)
        if not starting.done():
            return True
        good = sum(starting.result())
        rows = [(remote.host, remote.reason or "started") for remote in self.workers]
        for remote in self.workers:
            if remote.reason:
                self._tell_failure(remote)
            else:
                self._follow(remote)
        least = len(rows) if self.wishes.min_hosts is None else self.wishes.min_hosts
        if good < len(rows):
            self._tell(f"{len(rows) - good} of {len(rows)} hosts did not start:\n{table(rows)}")
        return good >= least or self.stop.is_set()

    async def add_worker(self, host: Host) -> bool:
        """Start another one; whether it did."""
        remote = self._worker(host)
        self.workers.append(remote)
        if not await remote.start():
            self._tell_failure(remote)
            return False
        self._follow(remote)
        return True

    def _worker(self, host: Host) -> Remote:
        wishes = self.wishes
        nthreads = wishes.nthreads or (max(1, host.slots // wishes.nprocs) if host.slots else 0)
        options = ["--nthreads", str(nthreads), "--nprocs", str(wishes.nprocs)]
        options += ["--host", host.name] if _is_address(host.name) else []
        options += ["--death-timeout", f"{wishes.death_timeout_s:g}s"]
        return self._remote(host, f"worker {host}", f"dworker_{host}.log", "dworker", options, [self.address])

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
            self._say(f"[ {label} ] : {text}")
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

    async def watch(self) -> int:
        """Wait for ``stop``, the end of the scheduler, or of the last worker; return the exit code."""
        assert self.scheduler is not None
        head = asyncio.ensure_future(self.scheduler.ended.wait())
        while self._followers and not head.done() and not self.stop.is_set():
            await self._first(head, *self._followers)
        if self.stop.is_set():
            return 0
        if self.scheduler.ended.is_set():
            code = self.scheduler.code
            self._tell(f"the scheduler has ended{f' with exit code {code}' if code else ''} {self.scheduler.reason}")
            return 0 if code == 0 else EXIT_SCHEDULER_LOST
        self._tell("no worker is left")
        return 0 if all(remote.code == 0 for remote in self.workers) else EXIT_NOT_STARTED

    def _follow(self, remote: Remote) -> None:
        task = asyncio.ensure_future(self._until_gone(remote))
        self._followers.add(task)
        task.add_done_callback(self._followers.discard)

    async def _until_gone(self, remote: Remote) -> None:
        await remote.ended.wait()
        if remote.state in ("ended", "lost") and not self.stop.is_set():
            self._tell(remote.reason or f"the worker on {remote.host} has ended with exit code {remote.code}")

    async def _first(self, *waits: asyncio.Future[Any], timeout_s: float | None = None) -> None:
        """Wait for the first of these, or for a signal; what is left over is cancelled at the end."""
        told = asyncio.ensure_future(self.stop.wait())
        await asyncio.wait([*waits, told], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()

    async def shut_down(self) -> None:
        """End all that runs there, the scheduler last."""
        self._say("\n[ dcluster ]: Shutting down remote processes (this may take a moment).")
        for remotes in (self.workers, [self.scheduler] if self.scheduler else []):
            live = [remote for remote in remotes if remote.state in ("starting", "running")]
            for remote in live:
                remote.stop()
            await asyncio.gather(*(remote.gone() for remote in live))
        self._files.close()
        self._say("[ dcluster ]: Remote processes have been terminated. Exiting.")

    def _tell(self, text: str) -> None:
        self.problem = text
        self._say(f"[ dcluster ] : {text}")

    def _tell_failure(self, remote: Remote) -> None:
        tries = f" ({remote.tries} of {TRIES} tries)" if remote.tries > 1 else ""
        self._tell(f"SSH connection error when connecting to {remote.host}: {remote.reason}{tries}")
