"""What it takes to have a large array elsewhere: by network and by shared memory, beside the machine's own floors.

    python -m benchmarks.transfer [--megabytes 256] [--rounds 5] [--ends]

All figures are GB per second of one array, medians of rounds (least and most in brackets), measured in turns so that
a slow minute of the machine hits all alike.  Before each, as much memory as it can need is taken and given back:
a virtual machine that was idle for a moment would first wait for its host to find some.  What receives an array looks
at one number of each of its pages, with --ends only at the first and the last.
"first": a result that was never asked for before; "again": asked for by a second reader; "in place": made by
``shared_empty``.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from distributed import Client, LocalCluster, shared_empty
from distributed.sharing.segments import fill

Figures = dict[str, list[float]]
_PAGE_NUMBERS = 512
_WARM_UP = 1


def make(numbers: int, seed: float) -> np.ndarray:
    """Return an ordinary array."""
    return np.full(numbers, seed)


def make_in_place(numbers: int, seed: float) -> np.ndarray:
    """Return an array that lies in shared memory from the start."""
    array = shared_empty(numbers)
    array[:] = seed
    return array


def pages(array: np.ndarray) -> float:
    """Touch every page."""
    return float(array[::_PAGE_NUMBERS].sum())


def ends(array: np.ndarray) -> float:
    """Touch the first page and the last."""
    return float(array[0] + array[-1])


@contextmanager
def clock(figures: Figures, name: str, nbytes: int) -> Iterator[None]:
    """Note how fast ``nbytes`` came."""
    np.ones(3 * nbytes, np.uint8)
    start = time.perf_counter()
    yield
    figures[name].append(nbytes / 1e9 / (time.perf_counter() - start))


class RawSocket:
    """A process that pours an array into a plain blocking socket: the floor of all networking here."""

    def __init__(self, array: np.ndarray) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self._pid = os.fork()
        if not self._pid:
            self._serve(listener, memoryview(array).cast("B"))
            os._exit(0)
        self._socket = socket.create_connection(listener.getsockname())
        listener.close()
        self._into = memoryview(bytearray(array.nbytes))

    @staticmethod
    def _serve(listener: socket.socket, data: memoryview) -> None:
        peer = listener.accept()[0]
        while peer.recv(1):
            peer.sendall(data)

    def pull(self) -> None:
        """Receive the array once, into memory that is there already."""
        self._socket.sendall(b"x")
        got = 0
        while got < len(self._into):
            got += self._socket.recv_into(self._into[got:])

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        os.waitpid(self._pid, 0)


def floors(figures: Figures, raw: RawSocket, array: np.ndarray) -> None:
    """Measure what the machine can do."""
    with clock(figures, "floor: loopback, plain sockets", array.nbytes):
        raw.pull()
    with clock(figures, "floor: copy to fresh memory", array.nbytes):
        array.copy()
    with clock(figures, "floor: copy to a segment", array.nbytes):
        fill([memoryview(array).cast("B")])


def transfers(
    figures: Figures, client: Client, how: str, look: Callable[[np.ndarray], float], numbers: int, seed: float
) -> None:
    """Measure one array between two workers, to the client and from the client."""
    one, two = sorted(client.ncores())
    nbytes = numbers * 8

    def at_one(function: Callable[..., Any]) -> Any:
        future = client.submit(function, numbers, seed, pure=False, workers=[one])
        client.submit(look, future, pure=False, workers=[one]).result()
        return future

    def seen_by(future: Any, worker: str) -> None:
        client.submit(look, future, pure=False, workers=[worker]).result()

    future = at_one(make)
    with clock(figures, f"{how}: worker to worker, first", nbytes):
        seen_by(future, two)
    with clock(figures, f"{how}: worker to client, again", nbytes):
        look(result := future.result())
    if how == "shared memory":
        with clock(figures, f"{how}: client to worker, again", nbytes):
            seen_by(client.scatter(result, workers=[two]), two)
        placed = at_one(make_in_place)
        with clock(figures, f"{how}: worker to worker, in place", nbytes):
            seen_by(placed, two)
    del result
    future = at_one(make)
    with clock(figures, f"{how}: worker to client, first", nbytes):
        look(future.result())
    if how == "shared memory":
        with clock(figures, f"{how}: worker to worker, again", nbytes):
            seen_by(future, two)
    array = np.full(numbers, seed)
    with clock(figures, f"{how}: client to worker, first", nbytes):
        seen_by(client.scatter(array, workers=[one]), one)


@contextmanager
def cluster(mode: str) -> Iterator[Client]:
    """Two workers and a client that share memory in this mode."""
    os.environ["DLAUNCH_SHARED_MEMORY"] = mode
    with LocalCluster(2) as local, Client(local) as client:
        client.wait_for_workers(2)
        yield client


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ends", action="store_true", help="look at both ends only")
    arguments = parser.parse_args()
    look = ends if arguments.ends else pages
    numbers = arguments.megabytes * 1_000_000 // 8
    array = np.ones(numbers)
    raw = RawSocket(array)
    figures: Figures = defaultdict(list)
    with cluster("off") as apart, cluster("read-only") as together:
        for number in range(arguments.rounds + _WARM_UP):
            if number == _WARM_UP:
                figures.clear()
            floors(figures, raw, array)
            transfers(figures, apart, "network", look, numbers, float(number))
            transfers(figures, together, "shared memory", look, numbers, float(number))
    raw.close()
    loopback = statistics.median(figures["floor: loopback, plain sockets"])
    for name, found in figures.items():
        middle = statistics.median(found)
        share = f"{middle / loopback:6.0%} of loopback" if name.startswith("network") else ""
        print(f"{name:42} {middle:7.2f} ({min(found):.2f} - {max(found):.2f}) GB/s  {share}")


if __name__ == "__main__":
    main()
