"""Tasks that hang, print, meddle and cannot be pickled: what their caller is told, and that nobody else suffers."""

from __future__ import annotations

import os
import sys
import threading
import time

import numpy as np
import pytest

from distributed.client import wait
from distributed.errors import CancelledError, TaskError
from tests.aio import until_sync
from tests.daemons.clusterbed import process_cluster
from tests.daemons.tasks import inc, nap

WORKERS = 4


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with process_cluster(tmp_path_factory.mktemp("c"), WORKERS, "--name", "w", "--resources", "LICENCE=1") as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with cluster.client() as client:
        client.wait_for_workers(WORKERS, timeout_s=10.0)
        yield client


# -- tasks that are only rude -----------------------------------------------------------------------


def pids(client):
    return sorted(client.run(os.getpid).values())


def test_sys_exit_is_an_exception_like_any_other(client):
    before = pids(client)
    error = client.submit(sys.exit, 7, pure=False).exception(timeout=10)
    assert type(error).__name__ in ("SystemExit", "TaskError")
    assert "7" in str(error)
    interrupted = client.submit(_raise, KeyboardInterrupt("stop"), pure=False).exception(timeout=10)
    assert "stop" in str(interrupted)
    assert pids(client) == before


def _raise(error):
    raise error


def test_standard_streams_are_not_missed(client, cluster):
    before = pids(client)

    def close_standard():
        for fd in (0, 1, 2):
            os.close(fd)
        return os.getpid()

    assert client.submit(close_standard, pure=False).result(10) in before
    futures = client.map(print, [f"line {i}" for i in range(20)], pure=False)
    wait(futures, timeout=10)
    until_sync(lambda: "line 19" in cluster.log("worker"))
    assert client.submit(_read_stdin, pure=False).result(10) == ""
    assert pids(client) == before


def _read_stdin():
    return sys.stdin.read()


def test_ten_megabytes_of_print_arrive_in_the_log(client, cluster):
    def shout():
        for _ in range(1000):
            sys.stdout.write("o" * 10_000 + "\n")
        sys.stderr.write("the end of shouting\n")

    client.submit(shout, pure=False).result(10)
    until_sync(lambda: "the end of shouting" in cluster.log("worker"))
    assert cluster.log("worker").count("o" * 10_000) == 1000


def test_a_thread_that_never_ends_is_no_obstacle(client):
    def linger():
        threading.Thread(target=time.sleep, args=(1e6,)).start()
        return os.getpid()

    pid = client.submit(linger, pure=False).result(10)
    client.restart(timeout_s=15.0)
    assert pid not in pids(client)
    assert len(pids(client)) == WORKERS


def test_a_changed_folder_umask_and_environment_do_not_break_the_worker(client):
    def meddle():
        os.chdir("/")
        os.umask(0o777)
        os.environ.clear()
        return os.getpid()

    client.submit(meddle, pure=False).result(10)
    assert client.gather(client.map(inc, range(50), pure=False), timeout=10) == list(range(1, 51))
    client.restart(timeout_s=15.0)


# -- what cannot be pickled ---------------------------------------------------------------------------


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("never on the wire")


class BreaksWhenLoaded:
    def __reduce__(self):
        return _raise, (ZeroDivisionError("broken on arrival"),)


class TwoPartError(Exception):
    def __init__(self, number, text):
        super().__init__(f"{number}: {text}")
        self.number = number


class UnpicklableError(Exception):
    def __reduce__(self):
        raise RuntimeError("never on the wire")


def test_what_cannot_be_sent_is_an_error_at_once(client):
    with pytest.raises(RuntimeError, match="never on the wire"):
        client.submit(inc, Unpicklable())
    with pytest.raises(RuntimeError, match="never on the wire"):
        client.submit(Unpicklable().__reduce__)
    with pytest.raises(TypeError, match="pickle"):
        client.map(inc, [1, threading.Lock()])
    assert client.submit(inc, 1).result(10) == 2


def test_what_breaks_on_arrival_is_told_with_its_cause(client):
    future = client.submit(inc, BreaksWhenLoaded(), pure=False)
    with pytest.raises(TaskError, match=r"arguments cannot be unpickled.*broken on arrival"):
        future.result(10)
    with pytest.raises(TaskError, match="Unpicklable"):
        client.submit(Unpicklable).result(10)
    broken = client.submit(BreaksWhenLoaded, pure=False)
    with pytest.raises(TaskError, match=r"result of .* cannot be unpickled here.*broken on arrival"):
        broken.result(10)
    with pytest.raises(TaskError, match="broken on arrival"):
        client.gather([broken])
    assert client.gather([broken, client.submit(inc, 1)], errors="skip") == [2]
    # Where it was made it need not be unpickled.
    [holders] = client.who_has([broken]).values()
    elsewhere = [address for address in client.ncores() if address not in holders]
    with pytest.raises(TaskError, match="broken on arrival"):
        client.submit(type, broken, workers=elsewhere, pure=False).result(10)


def test_exceptions_keep_type_attributes_cause_and_traceback(client):
    def outer():
        try:
            {}["absent"]
        except KeyError as error:
            raise TwoPartError(5, "five") from error

    error = client.submit(outer, pure=False).exception(timeout=10)
    assert type(error) is TwoPartError
    assert (str(error), error.number) == ("5: five", 5)
    assert isinstance(error.__cause__, KeyError)
    story = str(error.__cause__.__cause__ or error.__cause__)
    assert "in outer" in story
    assert 'raise TwoPartError(5, "five")' in story


def test_exceptions_that_cannot_travel_are_told_in_words(client):
    def fail():
        raise UnpicklableError("what happened")

    def fail_long():
        raise ValueError("x" * 10_000_000)

    def fail_deep():
        return fail_deep()

    error = client.submit(fail).exception(timeout=10)
    assert "UnpicklableError" in (type(error).__name__ + str(error))
    assert "what happened" in str(error)
    error = client.submit(fail_long).exception(timeout=10)
    assert isinstance(error, ValueError)
    assert isinstance(client.submit(fail_deep).exception(timeout=10), RecursionError)


# -- size and number -------------------------------------------------------------------------------------


def test_huge_results_travel(client):
    big = client.submit(np.ones, 25_000_000, workers="w-0")  # 200 MB
    total = client.submit(np.sum, big, workers="w-1")
    assert total.result(20) == 25_000_000
    assert big.result(20).nbytes == 200_000_000


def test_a_hundred_thousand_tiny_tasks(client):
    futures = client.map(inc, range(100_000))
    assert client.gather(futures, timeout=20) == list(range(1, 100_001))


# -- wishes -----------------------------------------------------------------------------------------------


def test_a_task_that_was_cancelled_before_it_ran_never_runs(client, tmp_path):
    blockers = client.map(nap, range(WORKERS * 4), seconds=0.1, pure=False)
    touched = client.map(lambda n: (tmp_path / str(n)).touch(), range(10), pure=False)
    client.cancel(touched)
    with pytest.raises(CancelledError):
        touched[0].result(10)
    client.gather(blockers, timeout=10)
    assert client.submit(inc, 1, pure=False).result(10) == 2
    assert not list(tmp_path.iterdir())


def test_futures_released_while_their_tasks_run_leave_nothing(client):
    futures = client.map(nap, range(WORKERS), seconds=0.2, pure=False)
    key = futures[0].key
    until_sync(lambda: "run" in client.why(key))
    del futures
    until_sync(lambda: client.who_has() == {}, what="the results to go")
    until_sync(lambda: not any(client.has_what().values()))


def test_resources_are_never_overdrawn(client):
    futures = client.map(_with_licence, range(24), resources={"LICENCE": 1}, pure=False)
    assert max(client.gather(futures, timeout=20)) == 1


_in_use = []


def _with_licence(_):
    _in_use.append(1)
    time.sleep(0.01)
    count = len(_in_use)
    _in_use.pop()
    return count


def test_priorities_decide_who_goes_first(client, tmp_path):
    blockers = client.map(nap, range(3), seconds=0.3, pure=False, workers="w-2")
    order = tmp_path / "order"

    def note(name):
        with order.open("a") as file:
            file.write(name)

    low = client.submit(note, "l", workers="w-2", priority=-1)
    middle = client.submit(note, "m", workers="w-2")
    high = client.submit(note, "h", workers="w-2", priority=1)
    client.gather([low, middle, high, *blockers], timeout=10)
    assert order.read_text() == "hml"
