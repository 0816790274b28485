"""What this machine gives to anybody: raw sockets, memory copies, process starts."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

CASES = ("latency", "transfer", "startup")
NBYTES = 256_000_000
TRIPS = 2_000
STARTS = 20
RESTS = 9
REST_S = 0.5


def measure(names: list[str], scale: float, workers: int) -> dict[str, Any]:
    """Return the floors below the cases, by case."""
    del workers
    found: dict[str, Any] = {}
    if "latency" in names:
        found["latency"] = {
            "median ms": _trip_s(max(50, int(TRIPS * scale))) * 1e3,
            "after a rest ms": _trip_s(RESTS, rest_s=REST_S) * 1e3,
        }
    if "transfer" in names:
        nbytes = int(NBYTES * scale)
        found["transfer"] = {
            "loopback TCP GB/s": nbytes / 1e9 / _median(lambda: _loopback_s(nbytes)),
            "memory copy GB/s": nbytes / 1e9 / _median(lambda: _copy_s(nbytes)),
        }
    if "startup" in names:
        found["startup"] = {
            "fork and exec of true ms": _median(lambda: _start_s(["true"]), STARTS) * 1e3,
            "bare Python start ms": _median(lambda: _start_s([sys.executable, "-S", "-E", "-c", ""]), STARTS) * 1e3,
        }
    return found


def _median(step: Callable[[], float], times: int = 5) -> float:
    return statistics.median(step() for _ in range(times))


@contextlib.contextmanager
def _peer(serve: Callable[[socket.socket], None]) -> Any:
    """Yield a socket to a process that serves its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.get_context("fork").Process(target=_accept, args=(listener, serve), daemon=True)
        process.start()
        with socket.create_connection(listener.getsockname()) as ours:
            ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield ours
        process.join(5)


def _accept(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    serve(connection)


def _echo(connection: socket.socket) -> None:
    while data := connection.recv(4096):
        connection.sendall(data)


def _trip_s(count: int, rest_s: float = 0.0) -> float:
    """The median of a round trip of 64 bytes between two processes, each after so much rest."""
    taken_s, data = [], bytes(64)
    with _peer(_echo) as sock:
        for _ in range(count):
            if rest_s:
                time.sleep(rest_s)
            began = time.perf_counter()
            sock.sendall(data)
            sock.recv(4096)
            taken_s.append(time.perf_counter() - began)
    return statistics.median(taken_s)


def _loopback_s(nbytes: int) -> float:
    """Send so much to a process that puts it into one piece of memory and then says so."""

    def swallow(connection: socket.socket) -> None:
        view = memoryview(bytearray(nbytes))
        connection.sendall(b"r")
        got = 0
        while got < nbytes:
            got += connection.recv_into(view[got:])
        connection.sendall(b"d")

    data = memoryview(bytearray(nbytes))
    with _peer(swallow) as sock:
        sock.recv(1)
        began = time.perf_counter()
        sock.sendall(data)
        sock.recv(1)
        return time.perf_counter() - began


def _copy_s(nbytes: int) -> float:
    """Copy into memory that is new, as a receiver's is."""
    source = np.ones(nbytes // 8, dtype=np.int64)
    began = time.perf_counter()
    source.copy()
    return time.perf_counter() - began


def _start_s(argv: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, check=True, env=dict(os.environ))
    return time.perf_counter() - began
