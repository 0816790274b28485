"""One worker until its end: the process that a nanny starts, and what ``dworker --no-nanny`` runs
itself.

``main`` is a whole fork server (see ``distributed/nanny/forkserver.py``); the Nanny starts it by
this module's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import NamedTuple

from distributed import eventloop, logs
from distributed.cli.rehearsal import rehearse
from distributed.cli.run import EXIT_FAILED, raise_file_limit
from distributed.errors import CommError, ConfigError
from distributed.nanny.forkserver import Reporter, serve
from distributed.nanny.orders import Ending, Listening, Registered, WorkerSettings
from distributed.network import parse_address
from distributed.worker import StdioGuard, Worker

__all__ = ["Witness", "main", "run_worker", "work"]

logger = logging.getLogger(__name__)


class Witness(NamedTuple):
    """Who is told a worker's address and folder, its scheduler's address, its last words."""

    listening: Callable[[str, str], None]
    registered: Callable[[str], None]
    ending: Callable[[str], None]


async def run_worker(settings: WorkerSettings, stop: asyncio.Event, witness: Witness) -> int:
    """Run one worker until it closes or ``stop`` is set; return its exit code."""
    try:
        worker = _make(settings)
        worker.start(settings.port)
    except ConfigError as error:
        logger.error("the worker could not start: %s", error)
        witness.ending(str(error))
        return EXIT_FAILED
    # Its folder is made in the first turn of its start.
    while worker.status == "starting" and not worker.local_dir:  # noqa: ASYNC110
        await asyncio.sleep(0)
    witness.listening(worker.address, worker.local_dir)
    closing = asyncio.ensure_future(_close_at(stop, worker))
    with contextlib.suppress(CommError):
        witness.registered(await worker.registered())
    await worker.finished()
    closing.cancel()
    witness.ending(worker.close_reason or "closed")
    return worker.exit_code


async def _close_at(stop: asyncio.Event, worker: Worker) -> None:
    await stop.wait()
    await worker.close("it was told to end by a signal")


def _make(settings: WorkerSettings) -> Worker:
    host, port = parse_address(settings.scheduler) if settings.scheduler else (None, None)
    return Worker(
        host,
        port,
        ip=settings.host,
        ncores=settings.nthreads,
        local_dir=settings.local_directory,
        name=settings.name,
        secret=settings.secret,
        cluster_file=settings.cluster_file,
        memory_limit=settings.memory_limit,
        resources=settings.resources,
        death_timeout_s=settings.death_timeout_s,
        nanny=settings.nanny,
        job_id=settings.job_id,
        stdio=StdioGuard(),
        shared_memory=settings.shared_memory,
    )


def work(settings: WorkerSettings, reporter: Reporter) -> int:
    """Be a worker process from its first moment to its end; return its exit code."""
    logs.configure(settings.log_level)
    raise_file_limit()
    return eventloop.run(_work(settings, reporter))


async def _work(settings: WorkerSettings, reporter: Reporter) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(reporter.alive_fd, os._exit, EXIT_FAILED)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    witness = Witness(
        listening=lambda address, folder: reporter.send(Listening(reporter.id, address, folder)),
        registered=lambda scheduler: reporter.send(Registered(reporter.id, scheduler)),
        ending=lambda reason: reporter.send(Ending(reporter.id, reason)),
    )
    return await run_worker(settings, stop, witness)


def main(orders_fd: int, reports_fd: int, *, prepared: bool = False) -> None:
    """Be a fork server with these descriptors until whoever holds their other ends is gone.

    ``prepared``: who forked this has rehearsed, or forks so few workers that a rehearsal costs more than it saves.
    """
    if not prepared:
        rehearse(work)
    serve(socket.socket(fileno=orders_fd), reports_fd, work)
