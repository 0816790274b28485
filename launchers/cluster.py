"""The Python twin of the command.

>>> with Slurm(n=64, queue="main", walltime="2h") as cluster:      # doctest: +SKIP
...     client = Client(cluster)
"""

from __future__ import annotations

import asyncio
import atexit
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from distributed.client.loops import LoopThread
from launchers import session
from launchers.slots import Progress

__all__ = ["Cluster", "Drmaa", "Local", "Pbs", "Sge", "Slurm", "Ssh", "Torque"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
_CLOSE_S = 200.0


class Cluster:
    """A cluster on the system ``system``; starts at once, ends with ``close`` or at the end of the ``with`` block.

    Keyword arguments are the options of ``dlaunch`` with ``_`` for ``-``: ``n=64``, ``walltime="2h"``, ``mem="24GB"``,
    ``queue="main"``, ``prologue=["module load python"]``, ``env={"A": "1"}`` ...; they are read, and the site's and the
    user's defaults found, as by the command.  Raises ConfigError, LauncherError.
    """

    def __init__(self, system: str, n: int | None, **options: Any) -> None:
        self._session: session.Session | None = None
        given = {key.replace("_", "-"): value for key, value in {"n": n, **options}.items()}
        self._plan = session.make_plan(system, session.resolve_settings(system, given))
        self._thread = LoopThread(f"dlaunch {self.name}")
        try:
            self._session = self._call(session.Session.open(self._plan, _Listener()))
        except BaseException:
            self._thread.stop()
            raise
        atexit.register(self.close)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} at {self.scheduler_address or 'no address'}>"

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The cluster's name, for ``Client(cluster=name)`` elsewhere."""
        return self._plan.folder.name

    @property
    def scheduler_address(self) -> str:
        """``"ip:port"`` of the scheduler; "" once closed."""
        return self._session.address if self._session else ""

    @property
    def cluster_file(self) -> str:
        """Path of the file that clients and workers read to find the scheduler."""
        return str(self._plan.folder.cluster_file)

    @property
    def progress(self) -> Progress:
        """How far the cluster is."""
        return self._running().launcher.progress

    @property
    def job_ids(self) -> list[str]:
        """The batch system's ids of the submitted arrays."""
        return self._running().launcher.arrays

    def job_script(self) -> str:
        """Return the jobscript that was submitted."""
        return self._plan.script

    @classmethod
    def dry_run(cls, *args: Any, **options: Any) -> str:
        """Return a jobscript for the same arguments to submit yourself; starts nothing, needs no batch system.

        Its workers join the cluster ``name``, else the one of ``dscheduler`` and ``dlaunch head``.
        """
        system, args = (args[0], args[1:]) if cls is Cluster else (cls.__name__.lower(), args)
        given = {key.replace("_", "-"): value for key, value in options.items()}
        if args:
            given["n"] = args[0]
        return session.make_plan(system, session.resolve_settings(system, given), dry_run=True).script

    def scale(self, n: int) -> None:
        """Want ``n`` workers from now on.  Raises ValueError if they do not fill whole jobs."""
        per_job = self._plan.settings.workers_per_job
        if n < 0 or n % per_job:
            raise ValueError(f"{n} is not a number of workers that fills jobs of {per_job}")
        self._call(self._running().launcher.scale(n // per_job))

    def wait_for_workers(self, n: int, timeout_s: float | None = None) -> int:
        """Wait until ``n`` workers are registered; return how many are.

        Raises RequestTimeoutError after ``timeout_s`` seconds, and LauncherError as soon as they cannot come any more.
        """
        return self._call(self._running().launcher.wait_for_workers(n, timeout_s))

    def close(self) -> None:
        """Cancel the jobs, wait until they are gone, end the scheduler.  Idempotent."""
        running, self._session = self._session, None
        if running is None:
            return
        atexit.unregister(self.close)
        try:
            self._call(running.close(), _CLOSE_S)
        finally:
            self._thread.stop()

    def _running(self) -> session.Session:
        if self._session is None:
            raise RuntimeError(f"the cluster {self.name!r} is closed")
        return self._session

    def _call(self, coro: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        return asyncio.run_coroutine_threadsafe(coro, self._thread.loop).result(timeout_s)


class Slurm(Cluster):
    """A cluster on SLURM; see :class:`Cluster` for the options."""

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__("slurm", n, **options)


class Sge(Cluster):
    """A cluster on Grid Engine; see :class:`Cluster` for the options, and ``pe``, ``mem_resource``, ``via="drmaa"``."""

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__("sge", n, **options)


class Ssh(Cluster):
    """Workers on hosts that ``hosts=["n[01-04]"]`` or ``hostfile="..."`` name; see :class:`Cluster` for the options.

    Without ``n`` there is one worker on each host, or as many as it has slots.
    """

    def __init__(self, n: int | None = None, **options: Any) -> None:
        super().__init__("ssh", n, **options)


class Torque(Cluster):
    """A cluster on Torque; see :class:`Cluster` for the options."""

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__("torque", n, **options)


class Pbs(Cluster):
    """A cluster on OpenPBS or PBS Pro; see :class:`Cluster` for the options."""

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__("pbs", n, **options)


class Drmaa(Cluster):
    """A cluster on any batch system that has a DRMAA 1 library; see :class:`Cluster` for the options."""

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__("drmaa", n, **options)


class Local(Cluster):
    """Workers as plain processes of this machine; see :class:`Cluster` for the options."""

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__("local", n, **options)


class _Listener:
    """In a program messages are log records: the launcher writes them already."""

    def progress(self, progress: Progress) -> None:
        logger.debug("%s", progress)

    def tell(self, text: str, warning: bool) -> None:
        logger.debug("%s%s", "warning: " if warning else "", text)
