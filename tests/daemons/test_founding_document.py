"""The founding document works: its commands, the lines they print, and its Python section, as written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from distributed import Client, Nanny, Scheduler, Worker, rpc
from tests.aio import until_sync

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a command of ours as a process; all are ended after the test."""
    processes: list[subprocess.Popen[str]] = []

    def begin(command: str, *args: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", f"distributed.cli.{command}", *args]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            process.terminate()
            process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def _scheduler(start: Start, *args: str) -> tuple[subprocess.Popen[str], str]:
    process = start("dscheduler", "--port", "0", "--host", "127.0.0.1", *args)
    found = re.fullmatch(r"Start scheduler at (127\.0\.0\.1:\d+)", _line(process))
    assert found
    return process, found[1]


def test_the_commands_print_the_lines_of_the_document(start: Start) -> None:
    _, address = _scheduler(start)
    for _ in range(2):
        worker = start("dworker", address)
        assert re.fullmatch(r"Start worker at:            127\.0\.0\.1:\d+", _line(worker))
        assert _line(worker) == f"Registered with center at:  {address}"
    assert len(rpc(address).identity()["workers"]) == 2


def test_terminate_ends_the_processes_with_exit_code_0(start: Start) -> None:
    scheduler, address = _scheduler(start)
    worker = start("dworker", address, "--no-nanny")
    worker_address = _line(worker).split()[-1]
    _line(worker)
    assert rpc(worker_address).terminate() == "OK"
    assert worker.wait(10) == 0
    assert rpc(address).terminate() == "OK"
    assert scheduler.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_processes_clean(start: Start, number: signal.Signals) -> None:
    scheduler, address = _scheduler(start)
    worker = start("dworker", address)
    _line(worker), _line(worker)
    for process in (worker, scheduler):
        process.send_signal(number)
        assert process.wait(10) == 0


def test_killing_the_processes_is_safe(start: Start) -> None:
    scheduler, address = _scheduler(start)
    worker = start("dworker", address, "--death-timeout", "1s")
    _line(worker), _line(worker)
    scheduler.kill()
    assert worker.wait(15) == 3  # its scheduler is gone


@pytest.fixture
def loop() -> Iterator[IOLoop]:
    """A loop in a thread, as the document makes it."""
    loop = IOLoop(make_current=False)
    thread = Thread(target=loop.start)
    thread.start()
    yield loop
    loop.add_callback(loop.stop)
    thread.join(10)
    loop.close(all_fds=True)


def _run(loop: IOLoop, coroutine: Any) -> Any:
    import asyncio

    return asyncio.run_coroutine_threadsafe(coroutine, loop.asyncio_loop).result(20)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [Worker, Nanny])
def test_the_python_section(loop: IOLoop, kind: Any) -> None:
    s = Scheduler(loop=loop, ip="127.0.0.1")
    s.start(0)
    w = kind("127.0.0.1", s.port, loop=loop)
    w.start(0)
    until_sync(lambda: s.workers, 20, "the worker to register")
    with Client(f"127.0.0.1:{s.port}") as client:
        assert client.submit(pow, 2, 10).result(20) == 1024
    assert rpc(w.address).terminate() == "OK"
    until_sync(lambda: not s.workers, 20, "the worker to leave")
    assert rpc(s.address).terminate() == "OK"
    until_sync(lambda: s.status == w.status == "closed", 20, "both to close")


def test_the_default_port_of_a_scheduler_is_8786() -> None:
    assert Scheduler.default_port == 8786


def test_no_process_of_a_killed_dworker_is_left(start: Start) -> None:
    _, address = _scheduler(start)
    worker = start("dworker", address, "--nprocs", "2")
    for _ in range(4):
        _line(worker)
    pids = [info["pid"] for info in rpc(address).identity()["workers"].values()]
    assert len(pids) == 2
    worker.kill()
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "workers outlived their nanny"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
