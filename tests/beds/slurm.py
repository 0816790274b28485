"""A real SLURM on this machine: brought up, used as a normal user, taken down and looked after."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.aio import until_sync

BEDS = Path(__file__).parent
LOCK = Path("/run/dlaunch-bed.lock")
USER = os.environ.get("BED_USER", "beduser")
HEAD = "10.77.0.254"
NODES = ("hpc1", "hpc2", "hpc3", "hpc4")
CPUS_PER_NODE = 32

UP_TIMEOUT_S = 600.0
DOWN_TIMEOUT_S = 180.0
LOCK_TIMEOUT_S = 900.0


class BedError(Exception):
    """The bed cannot be brought up or taken down; the message holds the script's last words."""


class SlurmBed:
    """SLURM on four nodes, ``hpc1`` to ``hpc4``, each a host of its own with 32 CPUs.

    Commands run as the bed's normal user, with its own home and a clean environment whose PATH
    starts with the programs of the project's wheel.  ``head`` is the only address of this machine
    that the nodes can reach; 127.0.0.1 on a node is the node.
    """

    user = USER
    head = HEAD
    nodes = NODES
    cpus = CPUS_PER_NODE * len(NODES)

    @property
    def home(self) -> Path:
        """The normal user's home; the nodes see it too."""
        return Path(pwd.getpwnam(self.user).pw_dir)

    def _argv(self, argv: Sequence[str | Path], env: dict[str, str] | None, cwd: Path | str | None) -> list[str]:
        start = ["env", "-C", str(cwd or self.home)]
        settings = [f"{name}={value}" for name, value in (env or {}).items()]
        return [str(BEDS / "as-user.sh"), *start, *settings, *map(str, argv)]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        env: dict[str, str] | None = None,
        cwd: Path | str | None = None,
        timeout_s: float = 60.0,
        check: bool = True,
        **kw: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the normal user; ``env`` adds to the clean environment.

        Raises AssertionError with both outputs if ``check`` and the exit code is not 0.
        """
        if "input" not in kw:
            kw.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(
            self._argv(argv, env, cwd),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            **kw,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{' '.join(map(str, argv))} ended with {done.returncode}\nstdout: {done.stdout}\nstderr: {done.stderr}"
            )
        return done

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        env: dict[str, str] | None = None,
        cwd: Path | str | None = None,
        **kw: Any,
    ) -> subprocess.Popen[str]:
        """Start a command as the normal user in a session of its own; the pid is the command's.

        Its outputs are pipes unless told otherwise.  The caller ends it; what is left at the end
        of the ring is a failure of the ring.
        """
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen(self._argv(argv, env, cwd), text=True, start_new_session=True, **kw)

    def on_node(self, node: str, argv: Sequence[str | Path], **kw: Any) -> Any:
        """Run a command as root on one of ``nodes``; as ``subprocess.run``, outputs as text."""
        kw = {"capture_output": True, "text": True, "timeout": 60, **kw}
        command = ["/usr/local/bin/hpc-exec", node, *map(str, argv)]
        return subprocess.run(command, check=kw.pop("check", True), **kw)

    def squeue(self, *options: str, fields: str = "%i|%T|%r|%N") -> list[list[str]]:
        """One row per array task in the queue, split into ``fields`` (id, state, reason, nodes).

        ``options`` are passed on: ``"-t", "all"`` shows what has ended too.
        """
        done = self.run(["squeue", "-h", "-r", "-o", fields, *options])
        return [line.split("|") for line in done.stdout.splitlines()]

    def states(self, job: str) -> list[str]:
        """The sorted states of the tasks of ``job``, those that have ended too."""
        return sorted(state for (state,) in self.squeue("-t", "all", "-j", job, fields="%T"))

    def processes(self) -> list[psutil.Process]:
        """What runs under the normal user on all hosts; dead ones that await their parent excluded.

        The hosts share one table of processes.
        """
        uid = pwd.getpwnam(self.user).pw_uid
        found = []
        for process in psutil.process_iter(["uids", "status"]):
            # None: the process ended between the two looks.
            uids, status = process.info["uids"], process.info["status"]
            if uids is not None and uids.real == uid and status != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def leftovers(self) -> str:
        """What is still queued or running of the normal user, for a message; "" if nothing."""
        lines = [f"job {' '.join(row)}" for row in self.squeue("-u", self.user)]
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                lines.append(f"process {process.pid}: {' '.join(process.cmdline())}")
        return "\n".join(lines)

    def assert_clean(self, timeout_s: float = 20.0) -> None:
        """Raise AssertionError unless queue and process table of the user get empty in time."""
        deadline = time.monotonic() + timeout_s
        while left := self.leftovers():
            if time.monotonic() > deadline:
                raise AssertionError(f"left behind on the bed after {timeout_s:g} s:\n{left}")
            time.sleep(0.2)

    def clear(self) -> None:
        """End whatever a broken run left under the bed's own user."""
        self.run(["scancel", "-u", self.user], check=False)
        with contextlib.suppress(AssertionError):
            until_sync(lambda: not self.squeue("-u", self.user), timeout_s=30.0)
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


def script(name: str, *arguments: str, timeout_s: float) -> None:
    """Run one of the bed scripts.  Raises BedError with its last words if it fails."""
    try:
        done = subprocess.run(
            [str(BEDS / name), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BedError(f"{name} was not done after {timeout_s:g} s: {error.output}") from error
    if done.returncode != 0:
        last = "\n".join(done.stdout.splitlines()[-15:])
        raise BedError(f"{name} failed ({done.returncode}):\n{last}")


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """There is one network and one SLURM: a second run on this machine waits for the first."""
    with LOCK.open("w") as file:

        def taken() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        until_sync(taken, LOCK_TIMEOUT_S, what=f"another run to release {LOCK}")
        yield


@contextlib.contextmanager
def slurm_bed() -> Iterator[SlurmBed]:
    """Bring SLURM and the project's wheel up; at the end prove that nothing is left, take it down.

    With DLAUNCH_KEEP_BED set it stays up, for the next run or a look by hand.
    Raises BedError if it cannot be brought up.
    """
    script("possible.sh", timeout_s=30.0)
    with _only_one():
        bed = SlurmBed()
        try:
            script("slurm-up.sh", timeout_s=UP_TIMEOUT_S)
            script("venv-up.sh", timeout_s=UP_TIMEOUT_S)
            bed.clear()
            try:
                yield bed
                bed.assert_clean()
            finally:
                bed.clear()
        finally:
            if not os.environ.get("DLAUNCH_KEEP_BED"):
                script("slurm-down.sh", timeout_s=DOWN_TIMEOUT_S)
