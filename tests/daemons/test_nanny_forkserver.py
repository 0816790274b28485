"""The fork server with real processes: what is reported, and that nobody outlives anybody."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.aio import until_sync
from tests.daemons.nannybed import children, gone, is_alive, program

# A process with workers that do what their job_id says; every line on its stdout is one report.
PROGRAM = """
import asyncio, json, os, signal, socket, sys, time
from distributed.nanny.forkserver import serve
from distributed.nanny.orders import Ending, Listening, WorkerSettings
from distributed.nanny.processes import ForkServer

def work(settings, reporter):
    what, _, rest = settings.job_id.partition(":")
    if what == "exit":
        reporter.send(Ending(reporter.id, rest))
        return int(settings.name)
    if what == "raise":
        raise RuntimeError(rest)
    if what == "kill":
        os.kill(os.getpid(), int(rest))
    if what == "sleep":
        reporter.send(Listening(reporter.id, "here", ""))
        time.sleep(60)
    if what == "look":
        reporter.send(Ending(reporter.id, json.dumps({
            "stdin": os.read(0, 10).decode(),
            "fds": len(os.listdir("/dev/fd")) - 1,
            "variables": {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MINE")},
            "secret_seen": settings.secret.hex() in open("/proc/self/cmdline").read()
                or settings.secret.hex() in str(dict(os.environ)),
            "comm": open("/proc/self/comm").read().strip(),
            "sigterm": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
        })))
    return 0

def settings(job_id, name=None):
    return WorkerSettings(scheduler="10.0.0.1:1", secret=b"s" * 32, name=name,
                          job_id=job_id.replace("LONG", "x" * 2000),
                          environment={"MINE": "1"}, defaults={"OMP_NUM_THREADS": "3"})

def tell(process, report):
    print(json.dumps([process.id, type(report).__name__, str(report), process.exit_code,
                      process.last_words]), flush=True)

async def main(jobs):
    processes = [server.spawn(settings(job, name), tell) for job, name in jobs]
    while any(process.is_alive for process in processes):
        await asyncio.sleep(0.01)

server = ForkServer()
if __name__ == "__main__":
    server.fork(lambda orders, reports: serve(socket.socket(fileno=orders), reports, work))
    print(server.pid, flush=True)
    async def run():
        await main(json.loads(sys.argv[1]))
        server.close()
    asyncio.run(run())
"""


def run(jobs, tmp_path, **environment):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return program(str(path), json.dumps(jobs), PYTHONPATH=os.getcwd(), **environment)


def reports_of(jobs, tmp_path, **environment):
    with run(jobs, tmp_path, **environment) as process:
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()[1:]], err


def test_ends_are_reported_in_order_with_code_and_last_words(tmp_path):
    reports, _ = reports_of([["exit:too hot", "4"]], tmp_path)
    assert [kind for _, kind, *_ in reports] == ["Spawned", "Ending", "Exited"]
    assert reports[-1][3:] == [4, "too hot"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_signal_is_a_negative_code(number, tmp_path):
    reports, _ = reports_of([[f"kill:{int(number)}", None]], tmp_path)
    assert reports[-1][3] == -number


def test_an_exception_is_a_traceback_and_code_70(tmp_path):
    reports, err = reports_of([["raise:oh dear", None]], tmp_path)
    assert reports[-1][3] == 70
    assert "RuntimeError: oh dear" in err


def test_a_worker_starts_with_clean_hands(tmp_path):
    reports, _ = reports_of([["look", "w1"]], tmp_path, MINE="2")
    seen = json.loads(reports[-1][4])
    assert seen == {
        "stdin": "",
        "fds": 5,  # the standard three, the reports, and the pipe that tells of the server's end
        "variables": {"OMP_NUM_THREADS": "3", "MINE": "1"},
        "secret_seen": False,
        "comm": "dworker-w1",
        "sigterm": True,
    }


def test_the_users_own_thread_count_is_left_alone(tmp_path):
    reports, _ = reports_of([["look", "w1"]], tmp_path, OMP_NUM_THREADS="7")
    assert json.loads(reports[-1][4])["variables"]["OMP_NUM_THREADS"] == "7"


def test_endless_last_words_are_cut(tmp_path):
    reports, _ = reports_of([["exit:" + "\u00e9" * 20000, "1"]], tmp_path)
    assert 100 < len(reports[-1][4]) < 2000
    assert reports[-1][3] == 1


def test_three_hundred_workers_at_once(tmp_path):
    # More orders than a socket takes in one go: some must wait for the server to read.
    jobs = [["exit:LONG", "0"]] * 300
    reports, _ = reports_of(jobs, tmp_path)
    assert len({id_ for id_, kind, *_ in reports if kind == "Exited"}) == 300


def sleepers(process, count):
    """Wait until ``count`` workers sleep; return the server's pid and theirs."""
    server = int(process.stdout.readline())
    for _ in range(2 * count):  # Spawned and Listening of each
        process.stdout.readline()
    pids = children(server)
    assert len(pids) == count
    return server, pids


def test_no_worker_outlives_the_process_with_the_nannies(tmp_path):
    with run([["sleep", None]] * 8, tmp_path) as process:
        server, pids = sleepers(process, 8)
        process.kill()
        until_sync(lambda: gone([server, *pids]), timeout_s=1.0, what="the end of all")


def test_no_worker_outlives_the_fork_server_and_its_end_is_reported(tmp_path):
    with run([["sleep", None]] * 4, tmp_path) as process:
        server, pids = sleepers(process, 4)
        os.kill(server, signal.SIGKILL)
        until_sync(lambda: gone(pids), timeout_s=1.0, what="the end of the workers")
        out, _ = process.communicate(timeout=10)
    exits = [json.loads(line) for line in out.splitlines() if '"Exited"' in line]
    assert [code for *_, code, _ in exits] == [-9] * 4
    assert all("forked from" in words for *_, words in exits)


def test_signals_to_the_server_do_not_end_it(tmp_path):
    # At Ctrl-C and scancel everybody gets the signal; the process with the nannies says what it means.
    with run([["sleep", None]], tmp_path) as process:
        server, pids = sleepers(process, 1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(server, number)
        os.kill(pids[0], signal.SIGINT)
        os.kill(pids[0], signal.SIGUSR1)  # the default action ends it: proof that SIGINT did not
        report = json.loads(process.stdout.readline())
        assert report[1:4:2] == ["Exited", -signal.SIGUSR1]
        assert process.wait(10) == 0
        assert not is_alive(server)


# Real workers that wait for a scheduler, on a system without a signal at the parent's death.
PORTABLE = """
import asyncio, sys
from distributed.cli.worker_process import main
from distributed.nanny import forkserver
from distributed.nanny.orders import WorkerSettings
from distributed.nanny.processes import ForkServer

forkserver._PR_SET_PDEATHSIG = 0  # no such option
server = ForkServer()
server.fork(main)
settings = WorkerSettings(scheduler="127.0.0.1:1", secret=b"s" * 32, host="127.0.0.1")

async def run():
    print(server.pid, flush=True)
    for _ in range(2):
        server.spawn(settings, lambda process, report: print(type(report).__name__, flush=True))
    await asyncio.sleep(60)

asyncio.run(run())
"""


def test_without_death_signals_workers_see_the_end_of_a_pipe(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PORTABLE)
    with program(str(path), PYTHONPATH=os.getcwd()) as process:
        server, pids = sleepers(process, 2)
        os.kill(server, signal.SIGKILL)
        until_sync(lambda: gone(pids), timeout_s=2.0, what="the end of the workers")
