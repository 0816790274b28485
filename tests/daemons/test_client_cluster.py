"""The client against a real scheduler and real workers, all in this process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import io
import operator
import sys
import threading
import time

import numpy as np
import pytest

from distributed.client import Client, CompatibleExecutor, Executor, as_completed, progress, wait
from distributed.client.loops import LoopThread
from distributed.errors import (
    CancelledError,
    NoWorkersError,
    RequestTimeoutError,
    WorkerLostError,
)
from distributed.scheduler import Scheduler
from distributed.worker import Worker
from tests.aio import run_async, until_sync

SECRET = b"c" * 32


def inc(x):
    return x + 1


def fail(x):
    raise ValueError("bad", x)


def nap(x, seconds=0.05):
    time.sleep(seconds)
    return x


class Cluster:
    """A scheduler and workers on a loop of their own."""

    def __init__(self):
        self.thread = LoopThread("cluster")
        self.workers = []
        self.scheduler = self.run(self._begin())
        self.address = self.scheduler.address

    def run(self, coro):
        return asyncio.run_coroutine_threadsafe(coro, self.thread.loop).result(20.0)

    async def _begin(self):
        scheduler = Scheduler(host="127.0.0.1", secret=SECRET)
        await scheduler.start(0)
        return scheduler

    def add(self, name, nthreads=2, **settings):
        async def begin():
            ip, port = self.scheduler.address.rsplit(":", 1)
            worker = Worker(ip, int(port), ip, nthreads, name=name, secret=SECRET, **settings)
            await worker.start(0)
            return worker

        self.workers.append(self.run(begin()))
        return self.workers[-1]

    def close(self):
        for daemon in [*self.workers, self.scheduler]:
            self.run(daemon.close())
        self.thread.stop()


@pytest.fixture(scope="module")
def shared():
    cluster = Cluster()
    cluster.add("alice")
    cluster.add("bob", nthreads=1, resources={"GPU": 1})
    yield cluster
    cluster.close()


@pytest.fixture
def client(shared):
    with Client(shared.address, secret=SECRET) as client:
        yield client


@pytest.fixture
def own():
    cluster = Cluster()
    yield cluster
    cluster.close()


def test_thousands_of_tasks_come_back_right(client):
    assert client.gather(client.map(inc, range(10_000))) == list(range(1, 10_001))
    assert client.submit(sum, client.map(inc, range(200))).result(20) == sum(range(1, 201))


def test_a_client_says_how_large_the_cluster_is(client, shared):
    assert repr(client) == f"<Client: scheduler={shared.address} workers=2 threads=3>"
    assert Executor is Client


def test_a_tree_of_dependencies(client):
    level = client.map(inc, range(256), pure=False)
    while len(level) > 1:
        level = [client.submit(operator.add, a, b) for a, b in zip(level[::2], level[1::2], strict=True)]
    assert level[0].result(20) == sum(range(1, 257))


def test_large_results_travel_from_the_workers(client):
    arrays = client.map(np.full, [300_000] * 4, range(4))
    for number, array in enumerate(client.gather(arrays)):
        assert array.shape == (300_000,)
        assert (array == number).all()
    total = client.submit(lambda several: sum(a.sum() for a in several), arrays)
    assert total.result(20) == 300_000 * 6
    assert client.nbytes(arrays)[arrays[0].key] >= 2_400_000


def test_errors_reach_dependents_with_their_own_story(client):
    bad = client.submit(fail, 1)
    after = client.submit(inc, bad)
    with pytest.raises(ValueError, match="bad") as caught:
        after.result(20)
    assert "in fail" in str(caught.value.__cause__)
    assert client.gather([bad, after, client.submit(inc, 1)], errors="skip") == [2]


def test_retries_are_made(client, tmp_path):
    log = tmp_path / "tries"

    def second_time(path):
        with path.open("a") as file:
            file.write("x")
        if len(path.read_text()) < 2:
            raise OSError("not yet")
        return "done"

    assert client.submit(second_time, log, retries=3).result(20) == "done"
    assert log.read_text() == "xx"
    log.unlink()
    future = client.submit(second_time, log, pure=False)
    assert isinstance(future.exception(20), OSError)
    client.retry(future)
    assert future.result(20) == "done"


def test_restrictions_and_resources_place_tasks(client, shared):
    alice, bob = shared.workers
    futures = [
        client.submit(inc, 1, workers="alice", pure=False),
        client.submit(inc, 1, workers=[bob.address], pure=False),
        client.submit(inc, 1, resources={"GPU": 1}, pure=False),
        *client.map(inc, [1, 2], workers=[["bob"], ["alice"]], pure=False),
    ]
    wait(futures, timeout=20)
    places = [alice, bob, bob, bob, alice]
    assert [client.who_has(f)[f.key] for f in futures] == [[worker.address] for worker in places]
    waiting = client.submit(inc, 1, resources={"TPU": 1})
    assert "TPU" in client.why(waiting)


def test_scatter_by_name_and_broadcast(client, shared):
    alice, bob = (worker.address for worker in shared.workers)
    named = client.scatter({"scattered-x": [1, 2, 3]}, workers="bob")
    assert client.who_has(named["scattered-x"]) == {"scattered-x": [bob]}
    everywhere = client.scatter(np.arange(10), broadcast=True)
    assert sorted(client.who_has(everywhere)[everywhere.key]) == sorted([alice, bob])
    assert client.submit(np.sum, everywhere).result(20) == 45
    many = client.scatter(list(range(6)))
    assert client.gather(many) == list(range(6))
    assert len({client.who_has(f)[f.key][0] for f in many}) == 2
    with pytest.raises(NoWorkersError, match="carol"):
        client.scatter(1, workers="carol")


def test_copies_are_made_and_spread(client, shared):
    alice, bob = (worker.address for worker in shared.workers)
    one = client.submit(inc, 41)
    client.replicate(one)
    assert sorted(client.who_has(one)[one.key]) == sorted([alice, bob])
    heavy = client.map(np.ones, [100_000] * 6, workers="alice", pure=False)
    wait(heavy, timeout=20)
    client.rebalance(heavy)
    held = [client.who_has(f)[f.key][0] for f in heavy]
    assert 2 <= held.count(bob) <= 4
    assert set(client.has_what("bob")) == {bob}


def test_the_cluster_answers_questions(client, shared):
    alice, bob = (worker.address for worker in shared.workers)
    assert client.ncores() == {alice: 2, bob: 1}
    assert client.ncores("bob") == {bob: 1}
    assert client.scheduler_info()["workers"][alice]["name"] == "alice"
    assert client.wait_for_workers(2, timeout_s=1.0) == 2
    with pytest.raises(RequestTimeoutError, match="3 workers"):
        client.wait_for_workers(3, timeout_s=0.05)


def test_run_calls_on_all_workers(client, shared):
    assert client.run(inc, 1) == {worker.address: 2 for worker in shared.workers}
    assert list(client.run(inc, x=5, workers="bob").values()) == [6]
    assert client.run(inc, 1, wait=False) is None
    with pytest.raises(ValueError, match="bad"):
        client.run(fail, 1)


def test_an_uploaded_module_can_be_used(client, tmp_path):
    path = tmp_path / "uploaded_by_a_test.py"
    path.write_text("def answer():\n    return 42\n")

    def ask():
        import uploaded_by_a_test

        return uploaded_by_a_test.answer()

    try:
        client.upload_file(path)
        assert client.submit(ask, pure=False).result(20) == 42
    finally:
        sys.modules.pop("uploaded_by_a_test", None)
    with pytest.raises(FileNotFoundError):
        client.upload_file(tmp_path / "missing.py")


def test_graphs_in_the_form_of_dask(client):
    graph = {
        "x": 1,
        "y": (inc, "x"),
        ("z", 0): (sum, ["x", "y", (inc, (inc, "y"))]),
        "alias": "y",
        "list": ["x", (inc, "x")],
    }
    assert client.get(graph, [("z", 0), ["y", "alias"], "list"]) == [7, [2, 2], [1, 2]]
    assert client.get(graph, "x") == 1
    with pytest.raises(ValueError, match="circle"):
        client.get({"a": (inc, "b"), "b": (inc, "a")}, "a")


def test_the_face_of_concurrent_futures(client):
    with client.get_executor() as executor:
        assert isinstance(executor, concurrent.futures.Executor)
        one = executor.submit(int, "11", base=2)
        assert one.result(20) == 3
        assert list(executor.map(pow, [2, 3], [3, 2])) == [8, 9]
        assert list(executor.map(inc, range(1000), chunksize=100)) == list(range(1, 1001))
        several = [executor.submit(inc, i) for i in range(10)]
        done = concurrent.futures.as_completed(several, timeout=20)
        assert sorted(future.result() for future in done) == list(range(1, 11))
        assert isinstance(executor.submit(fail, 1).exception(20), ValueError)
        with pytest.raises(ValueError, match="chunksize"):
            executor.map(inc, [1], chunksize=0)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(inc, 1)


def test_an_executor_future_can_be_cancelled(client):
    executor = client.get_executor()
    blocked = executor.submit(nap, 1, 0.5)
    waiting = [executor.submit(nap, i, 0.5) for i in range(20)]
    assert waiting[-1].cancel()
    executor.shutdown(wait=True, cancel_futures=True)
    assert blocked.done()
    assert waiting[-1].cancelled()


def test_the_founding_executor_yields_results(shared):
    with CompatibleExecutor(shared.address, secret=SECRET, timeout=5.0) as executor:
        results = executor.map(inc, range(5))
        assert next(results) == 1
        assert list(results) == [2, 3, 4, 5]


def test_progress_writes_one_line_where_there_is_no_terminal(client):
    out = io.StringIO()
    progress(client.map(nap, range(4)), file=out)
    assert out.getvalue().startswith("[########")
    assert "| 100% Completed | " in out.getvalue()
    assert out.getvalue().count("\n") == 1


def test_progress_redraws_on_a_terminal(client):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    progress(client.map(nap, range(6), pure=False), file=out, interval_s=0.01)
    lines = out.getvalue().split("\r")
    assert len(lines) > 2
    assert "100% Completed" in lines[-1]


def test_cancelled_tasks_do_not_run_and_take_their_dependents(client, tmp_path):
    def touch(path, _):
        path.touch()

    blockers = client.map(nap, range(3), seconds=0.3, pure=False)
    path = tmp_path / "touched"
    first = client.submit(nap, 1, seconds=0.3, pure=False, priority=-5)
    second = client.submit(touch, path, first)
    client.cancel(first)
    assert first.cancelled()
    with pytest.raises(CancelledError):
        second.result(20)
    client.gather(blockers)
    assert not path.exists()


def test_a_task_goes_on_for_another_client(client, shared):
    with Client(shared.address, secret=SECRET) as other:
        mine = client.submit(nap, 77, seconds=0.2)
        theirs = other.submit(nap, 77, seconds=0.2)
        until_sync(lambda: "shared" if other.why(theirs) else "")
        client.cancel(mine)
        assert mine.cancelled()
        assert theirs.result(20) == 77


@pytest.mark.parametrize("give_up", [lambda future: future.release(), lambda future: future.cancel()])
def test_a_key_that_was_given_up_can_name_another_task_at_once(client, give_up):
    for number in range(20):
        first = client.submit(nap, 1, seconds=0.002, key="reused")
        if number % 2:
            time.sleep(0.003)  # now and then the first is at its end
        give_up(first)
        second = client.submit(inc, number, key="reused")
        assert second.result(20) == number + 1
        second.release()


def test_released_results_leave_the_workers(client, shared):
    future = client.submit(inc, 12345)
    key = future.key
    future.result(20)
    del future
    gc.collect()
    until_sync(lambda: key not in client.who_has())
    until_sync(lambda: all(key not in worker.data for worker in shared.workers))


def test_several_threads_share_a_client(client):
    results = []

    def work(n):
        results.append(sum(client.gather(client.map(inc, range(n, n + 200)))))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(0, 800, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(results) == sum(range(1, 801))


def test_asynchronous_from_end_to_end(shared):
    async def main():
        async with Client(shared.address, secret=SECRET) as client:
            futures = client.map(inc, range(100))
            assert await client.gather(futures) == list(range(1, 101))
            assert await client.submit(sum, futures) == 5050
            results = [r async for _, r in as_completed(futures[:5], with_results=True)]
            assert sorted(results) == [1, 2, 3, 4, 5]
            data = await client.scatter({"async-x": 5})
            assert await client.submit(inc, data["async-x"]) == 6
            assert len(await client.run(inc, 1)) == 2
            out = io.StringIO()
            await progress(futures, file=out)
            assert "100%" in out.getvalue()
            assert await client.get({"x": (inc, 1)}, "x") == 2

    run_async(main())


def test_made_inside_a_running_loop_a_client_connects_when_it_is_used(shared):
    async def main():
        client = Client(shared.address, secret=SECRET)
        assert (client.status, client.asynchronous) == ("connecting", False)
        assert client.submit(inc, 1).result(20) == 2  # as in a notebook
        assert client.status == "running"
        client.close()

    run_async(main())


def test_a_client_may_be_told_to_connect_later(shared):
    client = Client(shared.address, secret=SECRET, start=False)
    assert client.status == "connecting"
    with client:
        assert client.submit(inc, 1).result(20) == 2


def test_a_scheduler_of_this_process_can_be_named_itself(shared):
    with Client(shared.scheduler) as client:
        assert client.scheduler_address == shared.address


def test_without_workers_one_is_told_after_a_while(own):
    with Client(own.address, secret=SECRET, timeout_s=0.2) as client:
        with pytest.raises(NoWorkersError, match="no workers"):
            client.wait_for_workers(1, timeout_s=0.05)
        with pytest.raises(NoWorkersError):
            client.scatter([1])
        future = client.submit(inc, 1)
        own.add("late")
        assert future.result(20) == 2


@pytest.mark.expect_log("worker second at .* left", "trying to join it again")
def test_results_of_a_lost_worker_are_computed_again_and_scattered_ones_lost(own):
    first = own.add("first")
    second = own.add("second")
    with Client(own.address, secret=SECRET) as client:
        big = client.map(np.full, [50_000] * 6, range(6), workers="second", allow_other_workers=True)
        wait(big, timeout=20)
        data = client.scatter({"gone": 1}, workers="second")["gone"]
        own.run(abandon(second))
        assert [int(array[0]) for array in client.gather(big)] == list(range(6))
        with pytest.raises(WorkerLostError, match=second.address):
            data.result(20)
        assert set(client.ncores()) == {first.address}


async def abandon(worker):
    """Let a worker vanish without a word."""
    worker._membership.connection.abort()
    await worker.close()


def test_restart_cancels_everything(own):
    own.add("only")
    with Client(own.address, secret=SECRET) as client:
        kept = client.submit(inc, 1)
        kept.result(20)
        slow = client.map(nap, range(6), seconds=0.2)
        assert client.restart(timeout_s=10.0) is client
        assert kept.cancelled()
        assert all(future.cancelled() for future in slow)
        assert client.submit(inc, 1).result(20) == 2
