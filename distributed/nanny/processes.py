"""Worker processes as a nanny sees them: started, signalled and followed through a fork server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from distributed.errors import ConfigError
from distributed.nanny.forkserver import EXIT_BUG
from distributed.nanny.orders import (
    Ending,
    Exited,
    Listening,
    Order,
    Report,
    SendSignal,
    Spawn,
    Spawned,
    WorkerSettings,
    decode_report,
    encode,
)

__all__ = ["ForkServer", "Listener", "Server", "WorkerProcess", "describe_exit"]

logger = logging.getLogger(__name__)

_CHUNK: Final = 65536
_END_S: Final = 2.0
# By name, because a daemon knows nothing of the command line's modules.  SIGINT is the nanny's
# affair.
_CODE: Final = (
    "import json, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "sys.path[:] = json.loads(sys.argv[1]); "
    "from distributed.cli.worker_process import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)

_EXIT_WRECKED: Final = 71


def describe_exit(exit_code: int, last_words: str = "") -> str:
    """Say how a process ended; a negative code is the signal that ended it."""
    if exit_code >= 0:
        how = f"exit code {exit_code}"
        if exit_code == _EXIT_WRECKED:
            last_words = last_words or "a task has closed the descriptors of its process"
    else:
        try:
            how = f"killed by signal {-exit_code} ({signal.Signals(-exit_code).name})"
        except ValueError:
            how = f"killed by signal {-exit_code}"
    return f"{how}: {last_words}" if last_words else how


class WorkerProcess:
    """One worker process, alive until ``exit_code`` is not None (negative: the signal that ended
    it).

    ``address`` and ``directory`` are known once it listens, ``last_words`` if it told why it ended.
    """

    def __init__(self, id: int) -> None:  # noqa: A002 - the word of orders.py
        self.id = id
        self.pid: int | None = None
        self.exit_code: int | None = None
        self.address = ""
        self.directory = ""
        self.last_words = ""

    def __repr__(self) -> str:
        state = "alive" if self.is_alive else describe_exit(self.exit_code or 0)
        return f"<WorkerProcess pid {self.pid}, {state}>"

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended (or not even begun)."""
        return self.exit_code is None

    def take(self, report: Report) -> None:
        """Learn from a report."""
        if isinstance(report, Spawned):
            self.pid = report.pid
        elif isinstance(report, Listening):
            self.address, self.directory = report.address, report.directory
        elif isinstance(report, Ending):
            self.last_words = report.reason
        elif isinstance(report, Exited):
            self.exit_code = report.exit_code

    def clear_up(self) -> None:
        """Remove what a dead worker could not remove itself."""
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)


Listener: TypeAlias = Callable[[WorkerProcess, Report], None]
Server: TypeAlias = Callable[[int, int], None]
"""What a fork server's process runs: takes the descriptors of orders and reports."""


class _Channel:
    """Our ends of the wires to one server process, and its pid; ``popen`` if it is no mere fork."""

    def __init__(
        self,
        orders: socket.socket,
        reports: int,
        pid: int,
        popen: subprocess.Popen[bytes] | None = None,
    ) -> None:
        orders.setblocking(False)
        os.set_blocking(reports, False)
        self.orders = orders
        self.reports = reports
        self.pid = pid
        self.unread = b""
        self.unsent = b""
        self._popen = popen

    def read(self) -> list[bytes]:
        """Return the whole lines that have arrived; the pipe's end of file is no news, see
        ``is_gone``.
        """
        while True:
            try:
                data = os.read(self.reports, _CHUNK)
            except BlockingIOError:
                break
            if not data:
                break
            self.unread += data
        *lines, self.unread = self.unread.split(b"\n")
        return lines

    def send(self) -> bool:
        """Send what the socket takes of ``unsent``; return whether something is left."""
        try:
            self.unsent = self.unsent[self.orders.send(self.unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # its end is noticed by the reader
            self.unsent = b""
        return bool(self.unsent)

    def is_gone(self) -> bool:
        """Whether the server has closed its end, which it does only by ending."""
        try:
            return not self.orders.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Let the server end (it kills its workers), and wait for that."""
        self.orders.close()
        os.close(self.reports)
        deadline_s = time.monotonic() + _END_S
        while not self._reaped():
            if time.monotonic() > deadline_s:
                os.kill(self.pid, signal.SIGKILL)
                deadline_s += _END_S
            time.sleep(0.002)

    def _reaped(self) -> bool:
        if self._popen is not None:
            return self._popen.poll() is not None
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True


def _wires() -> tuple[socket.socket, socket.socket, int, int]:
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    return ours, theirs, read_end, write_end


def _forked(server: Server) -> _Channel:
    ours, theirs, read_end, write_end = _wires()
    sys.stdout.flush()
    sys.stderr.flush()
    # What is imported is shared for ever, unless a collection on either side writes into it.
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        code = EXIT_BUG
        try:
            # Ctrl-C reaches everybody at the terminal; what it means is the parent's to say.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            ours.close()
            os.close(read_end)
            server(theirs.detach(), write_end)
            code = 0
        except BaseException:  # noqa: BLE001 - nobody above: it is this process's whole life
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    theirs.close()
    os.close(write_end)
    return _Channel(ours, read_end, pid)


def _executed() -> _Channel:
    ours, theirs, read_end, write_end = _wires()
    with theirs:
        try:
            popen = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _CODE,
                    json.dumps(sys.path),
                    str(theirs.fileno()),
                    str(write_end),
                ],
                pass_fds=(theirs.fileno(), write_end),
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            ours.close()
            os.close(read_end)
            raise ConfigError(
                f"cannot start {sys.executable} for the worker processes: {error.strerror}",
                key="python",
                value=sys.executable,
            ) from error
        finally:
            os.close(write_end)
    return _Channel(ours, read_end, popen.pid, popen)


class ForkServer:
    """A fork server and the worker processes that it started.

    The server process is started by the first ``spawn``, as a fresh interpreter, because the
    process around may have threads; a command that has none yet calls ``fork`` first, which saves
    an interpreter's start.  A server that dies is replaced by the next ``spawn``; its workers have
    died with it.

    All methods but ``fork`` must be called on the event loop.
    """

    def __init__(self) -> None:
        self._channel: _Channel | None = None
        self._attached = False
        self._next_id = 1
        self._alive: dict[int, tuple[WorkerProcess, Listener]] = {}

    @property
    def pid(self) -> int | None:
        """The server process, None before it is started."""
        return self._channel.pid if self._channel else None

    def fork(self, server: Server) -> None:
        """Fork the server from this very process, which must have one thread and no event loop.

        ``server`` is what it runs, usually ``distributed.cli.worker_process.main``.
        """
        self._channel = _forked(server)

    def spawn(self, settings: WorkerSettings, listener: Listener) -> WorkerProcess:
        """Start a worker process; ``listener(process, report)`` is called on the loop for all that
        it does.

        Raises ConfigError if the server cannot be started.
        """
        if self._channel is None:
            self._channel = _executed()
        if not self._attached:
            self._attach(self._channel)
        process = WorkerProcess(self._next_id)
        self._next_id += 1
        self._alive[process.id] = (process, listener)
        self._order(Spawn(process.id, settings))
        return process

    def send_signal(self, process: WorkerProcess, number: int) -> None:
        """Send a signal to a worker process; nothing happens if it is gone."""
        if process.id in self._alive:
            self._order(SendSignal(process.id, number))

    def _attach(self, channel: _Channel) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(channel.reports, self._read)
        loop.add_reader(channel.orders, self._check)
        self._attached = True

    def _order(self, order: Order) -> None:
        channel = self._channel
        assert channel is not None
        was_waiting = bool(channel.unsent)
        channel.unsent += encode(order)
        if not was_waiting and channel.send():
            asyncio.get_running_loop().add_writer(channel.orders, self._send_rest)

    def _send_rest(self) -> None:
        if self._channel is not None and not self._channel.send():
            asyncio.get_running_loop().remove_writer(self._channel.orders)

    def _read(self) -> None:
        if self._channel is None:
            return
        for line in self._channel.read():
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            report = decode_report(line)
        except msgspec.MsgspecError as error:
            # User code found the descriptor and wrote into it.
            logger.warning("nonsense among the reports of worker processes: %s", error)
            return
        self._hear(report)

    def _hear(self, report: Report) -> None:
        found = self._alive.get(report.id)
        if found is None:
            return
        process, listener = found
        process.take(report)
        if isinstance(report, Exited):
            del self._alive[report.id]
            process.clear_up()
        listener(process, report)

    def _check(self) -> None:
        if self._channel is None or not self._channel.is_gone():
            return
        self._read()
        logger.warning("the fork server, pid %d, has ended, and its workers with it", self.pid)
        self._detach()
        self._lose_all("the process that it was forked from has ended")

    def _lose_all(self, reason: str) -> None:
        for id_ in list(self._alive):
            self._hear(Ending(id_, reason))
            self._hear(Exited(id_, -signal.SIGKILL))

    def _detach(self) -> None:
        channel, self._channel = self._channel, None
        if channel is None:
            return
        if self._attached:
            loop = asyncio.get_running_loop()
            loop.remove_reader(channel.reports)
            loop.remove_reader(channel.orders)
            loop.remove_writer(channel.orders)
            self._attached = False
        channel.close()

    def close(self) -> None:
        """End the server and at once all workers that are left.  Idempotent."""
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._read()
        self._detach()
        self._lose_all("its nanny has ended")
