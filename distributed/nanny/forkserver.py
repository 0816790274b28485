"""The fork server: a small process that has imported all that a worker needs, and forks worker
processes.

It has one thread and no event loop, so that forking it is safe.  It lives as long as the process
that gives it orders: when that one is gone, by whatever end, the server sees the end of file, kills
its workers and ends.  When the server itself is killed, Linux kills the workers
(``PR_SET_PDEATHSIG``); elsewhere they see the end of a pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

from distributed.clock import on_the_second
from distributed.nanny.orders import (
    Ending,
    Exited,
    Order,
    Report,
    Spawn,
    Spawned,
    WorkerSettings,
    decode_order,
    encode,
)

__all__ = ["EXIT_BUG", "Reporter", "Work", "serve"]

EXIT_BUG: Final = 70
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_ORPHAN_POLL_S: Final = 10.0
"""Between looks whether the parent is there; its end closes the socket of the orders, if nobody else has that open."""
_CHUNK: Final = 65536
# POSIX writes up to PIPE_BUF bytes in one piece, whoever else writes into the pipe.
_LONGEST_LINE: Final = min(select.PIPE_BUF, 2000)
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Reporter:
    """Writes the reports of one worker process, called ``id`` by the nanny; ``fd`` is the pipe.

    ``alive_fd`` reaches its end of file when the fork server is gone.
    """

    def __init__(self, id: int, fd: int, alive_fd: int) -> None:  # noqa: A002 - the word of orders.py
        self.id = id
        self.alive_fd = alive_fd
        self._fd = fd

    def send(self, report: Report) -> None:
        """Report; nothing happens if nobody listens any more."""
        _send(self._fd, report)


Work: TypeAlias = Callable[[WorkerSettings, Reporter], int]
"""What a worker process does, in its own process: takes its settings, returns its exit code."""


def _send(fd: int, report: Report) -> None:
    line = encode(report)
    if len(line) > _LONGEST_LINE and isinstance(report, Ending):
        # Escapes make a character up to six bytes long.
        line = encode(Ending(report.id, report.reason[: _LONGEST_LINE // 8] + " ..."))
    with contextlib.suppress(BrokenPipeError):
        os.write(fd, line)


class _ForkServer:
    """The state of the server: who its children are."""

    def __init__(self, orders: socket.socket, reports: int, work: Work) -> None:
        self._orders = orders
        self._reports = reports
        self._work = work
        self._parent = os.getppid()
        self._pids: dict[int, int] = {}
        self._ids: dict[int, int] = {}
        self._unread = b""
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self._wake_read, self._wake_write = os.pipe()
        self._alive_read, self._alive_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def run(self) -> None:
        self._name_process("dworker-server")
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        # What is there now is shared with all children for ever, unless a collection writes into
        # it.
        gc.collect()
        gc.freeze()
        poller = select.poll()
        poller.register(self._orders, select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        try:
            while os.getppid() == self._parent and self._turn(poller):
                pass
        finally:
            for pid in self._ids:
                os.kill(pid, signal.SIGKILL)

    def _turn(self, poller: select.poll) -> bool:
        """Wait for orders and for the ends of children; False when the one who orders is gone."""
        ready = [fd for fd, _ in poller.poll(1000 * on_the_second(_ORPHAN_POLL_S, time.time()))]
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, _CHUNK)
        if self._orders.fileno() in ready and not self._take_orders():
            return False
        self._reap()
        return True

    def _take_orders(self) -> bool:
        """Carry out what has arrived; False at the end of file."""
        try:
            data = self._orders.recv(_CHUNK)
        except OSError:
            data = b""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._obey(decode_order(line))
        return bool(data)

    def _obey(self, order: Order) -> None:
        if isinstance(order, Spawn):
            self._spawn(order)
        elif order.id in self._pids:
            # Not reaped yet, so the number is still this process's.
            os.kill(self._pids[order.id], order.number)

    def _spawn(self, order: Spawn) -> None:
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            _send(self._reports, Ending(order.id, f"cannot start a process: {error.strerror}"))
            _send(self._reports, Exited(order.id, EXIT_BUG))
            return
        if pid == 0:
            self._become_worker(order, server)
        self._pids[order.id] = pid
        self._ids[pid] = order.id

    def _reap(self) -> None:
        while self._ids:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            id_ = self._ids.pop(pid, None)
            if id_ is not None:
                del self._pids[id_]
                _send(self._reports, Exited(id_, os.waitstatus_to_exitcode(status)))

    def _name_process(self, name: str) -> None:
        if self._libc is not None:
            self._libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)

    # -- in the child ------------------------------------------------------------------

    def _become_worker(self, order: Spawn, server: int) -> NoReturn:
        code = EXIT_BUG
        try:
            self._cut_ties(server)
            # Said here and not by the server, which may be slower than the worker's own reports.
            _send(self._reports, Spawned(order.id, os.getpid()))
            settings = order.settings
            self._name_process(f"dworker-{settings.name or order.id}")
            os.environ.update(settings.environment)
            for name, value in settings.defaults.items():
                os.environ.setdefault(name, value)
            reporter = Reporter(order.id, self._reports, self._alive_read)
            code = self._work(settings, reporter)
        except BaseException:  # noqa: BLE001 - nobody above: it is this process's whole life
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            # Threads of user code may never end, and what the parent had set up for its exit is not
            # ours to do.
            os._exit(code)

    def _cut_ties(self, server: int) -> None:
        if self._libc is not None:
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != server:  # it ended before we asked
            os._exit(0)
        signal.set_wakeup_fd(-1)
        for number in (*_IGNORED, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # Ctrl-C reaches everybody at the terminal; what it means for workers is the nanny's to say.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        kept = {0, 1, 2, self._reports, self._alive_read}
        for fd in [int(name) for name in os.listdir("/dev/fd")]:
            if fd not in kept:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self._orders.detach()
        faulthandler.enable(all_threads=False)  # a crash in user code: the log says where


def serve(orders: socket.socket, reports: int, work: Work) -> None:
    """Obey ``orders`` until their end of file, write reports into ``reports``; ``work`` is run in
    each child.

    Must be called in a process that has a single thread and no event loop.
    """
    _ForkServer(orders, reports, work).run()
