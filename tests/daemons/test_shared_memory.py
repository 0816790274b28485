"""Large data between processes of one host: where they lie, who holds them, and what is left after a kill."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from distributed import wait
from distributed.errors import SharedMemoryError, TaskError
from distributed.sharing import exchange as exchange_module
from distributed.sharing.segments import Segment, locate
from tests.aio import until_sync
from tests.daemons import shared_tasks as tasks
from tests.daemons.clusterbed import ProcessCluster, process_cluster
from tests.daemons.nannybed import ROOT
from tests.holders import held, holders

SUM = float(tasks.make().sum())

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shared memory is for Linux")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with process_cluster(tmp_path_factory.mktemp("c"), 2, "--name", "w") as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with cluster.client() as client:
        client.wait_for_workers(2, timeout_s=20.0)
        yield client


@pytest.fixture
def workers(client):
    return sorted(client.ncores())


def nobody_holds(inodes, timeout_s=10.0):
    gc.collect()
    until_sync(lambda: not holders(inodes), timeout_s, "the end of all segments")


def inodes_of(client):
    """Segments that any worker, or this process, holds."""
    return set().union(held(), *client.run(tasks.held_here).values())


# -- by reference --------------------------------------------------------------------------------


def test_a_result_is_seen_by_another_worker_and_the_client_where_it_lies(client, workers):
    one, two = workers
    future = client.submit(tasks.make, pure=False, workers=[one])
    total, writable, token = client.submit(tasks.look, future, pure=False, workers=[two]).result()
    assert (total, writable) == (SUM, False)
    assert token is not None
    result = future.result()
    assert tasks.segment_of(result) == token
    assert np.array_equal(result, tasks.make())
    # The maker has given up its private copy.
    assert client.run(tasks.where_held, future.key, workers=[one]) == {one: token}


def test_results_of_a_function_that_travel_lie_there_before_anybody_asks(client, workers):
    one, two = workers

    def made(seed):
        return client.submit(tasks.make_another, seed, pure=False, workers=[one])

    def where(future):
        wait([future])
        return client.run(tasks.where_held, future.key, workers=[one])[one]

    first = made(1.0)
    assert where(first) is None
    assert client.submit(tasks.look, first, pure=False, workers=[two]).result()[2] is not None
    second = made(2.0)
    token = where(second)
    assert token is not None
    assert client.submit(tasks.look, second, pure=False, workers=[two]).result()[2] == token
    third = made(3.0)
    assert where(third) is not None
    key = third.key
    del third  # nobody wanted it elsewhere
    until_sync(lambda: not client.run(tasks.holds, key, workers=[one])[one], 10.0, "the end of the third")
    assert where(made(4.0)) is None


def test_twenty_readers_at_once_share_one_copy(client, workers):
    one, two = workers
    future = client.submit(tasks.make, pure=False, workers=[one])
    looks = [client.submit(tasks.look, future, pure=False, workers=[two]) for _ in range(20)]
    tokens = {token for _, _, token in client.gather(looks)}
    assert tokens == {tasks.segment_of(future.result())}


def test_scattered_data_lie_where_the_client_put_them_and_are_not_copied_on_the_way_back(client, workers):
    future = client.scatter(tasks.make(), workers=workers, broadcast=True)
    looks = [client.submit(tasks.look, future, pure=False, workers=[worker]).result() for worker in workers]
    assert [(total, writable) for total, writable, _ in looks] == [(SUM, False)] * 2
    assert len({token for _, _, token in looks}) == 1
    assert tasks.segment_of(future.result()) == looks[0][2]


def test_the_users_array_is_the_users_after_scatter(client, workers):
    array = tasks.make()
    future = client.scatter(array, workers=[workers[0]])
    array[:] = 0.0
    assert client.submit(tasks.look, future, pure=False).result()[0] == SUM


def test_an_array_made_in_place_is_never_copied(client, workers):
    one, two = workers
    future = client.submit(tasks.make_in_place, pure=False, workers=[one])
    client.submit(tasks.look, future, pure=False, workers=[one]).result()
    (token,) = client.run(tasks.where_held, future.key, workers=[one]).values()
    assert token is not None
    assert client.submit(tasks.look, future, pure=False, workers=[two]).result() == (SUM, False, token)
    assert tasks.segment_of(future.result()) == token


def test_what_is_handed_through_stays_where_it_is(client, workers):
    one, two = workers
    future = client.submit(tasks.make, pure=False, workers=[one])
    through = client.submit(tasks.same, future, pure=False, workers=[two])
    token = client.submit(tasks.look, through, pure=False, workers=[one]).result()[2]
    assert tasks.segment_of(future.result()) == token


def test_containers_of_arrays_and_objects_come_right(client, workers):
    one, two = workers
    value = {"a": tasks.make(1.0), "b": [tasks.make(2.0), "text"], "c": (tasks.make(3.0)[::2],)}
    future = client.submit(tasks.same, client.scatter(value, workers=[one]), pure=False, workers=[two])
    back = future.result()
    assert np.array_equal(back["a"], value["a"])
    assert np.array_equal(back["b"][0], value["b"][0])
    assert back["b"][1] == "text"
    assert np.array_equal(back["c"][0], value["c"][0])


def test_small_and_large_inputs_come_together(client, workers):
    one, two = workers
    inputs = [client.submit(tasks.make, float(i), n, pure=False, workers=[one]) for i, n in enumerate([10, 600_000])]
    small, large = client.submit(tasks.everything, *inputs, pure=False, workers=[two]).result()
    assert (small[0], small[2]) == (45.0, None)
    assert large[0] == float(tasks.make(1.0, 600_000).sum())
    assert large[2] is not None


def test_writing_into_a_view_is_numpys_usual_error(client, workers):
    one, two = workers
    future = client.submit(tasks.make, pure=False, workers=[one])
    with pytest.raises(ValueError, match="read-only"):
        client.submit(tasks.write, future, pure=False, workers=[two]).result()
    result = future.result()
    with pytest.raises(ValueError, match="read-only"):
        result[0] = 1.0


def test_a_writable_client_gets_copies_of_its_own_page_by_page(cluster, workers):
    with cluster.client(shared_memory="writable") as client:
        future = client.submit(tasks.make, pure=False, workers=[workers[0]])
        before = tasks.anonymous_bytes()
        mine, again = future.result(), future.result()
        assert mine.sum() == again.sum() == SUM
        assert tasks.anonymous_bytes() - before < mine.nbytes
        mine[:] = 0.0
        assert again.sum() == SUM
        assert future.result().sum() == SUM


def test_a_client_that_does_not_share_gets_bytes(cluster, workers):
    with cluster.client(shared_memory="off") as client:
        future = client.submit(tasks.make, pure=False, workers=[workers[0]])
        result = future.result()
        assert (result.sum(), tasks.segment_of(result)) == (SUM, None)
        result[:] = 0.0  # its own
        scattered = client.scatter(tasks.make(), workers=[workers[0]])
        assert client.submit(tasks.look, scattered, pure=False).result() == (SUM, True, None)


# -- whose memory --------------------------------------------------------------------------------


def test_memory_is_free_when_its_futures_and_views_are_gone(client, workers):
    one, two = workers
    before = inodes_of(client)
    future = client.submit(tasks.make, pure=False, workers=[one])
    client.submit(tasks.look, future, pure=False, workers=[two]).result()
    view = future.result()
    mine = inodes_of(client) - before
    assert mine
    del future
    until_sync(lambda: set(holders(mine)) == {os.getpid()}, what="the workers to let go")
    assert view.sum() == SUM
    del view
    nobody_holds(mine)


def test_many_transfers_leave_nothing(client, workers):
    before = inodes_of(client)
    for seed in range(10):
        future = client.submit(tasks.make, float(seed), pure=False, workers=[workers[seed % 2]])
        client.submit(tasks.look, future, pure=False, workers=[workers[(seed + 1) % 2]]).result()
        client.scatter(future.result(), workers=workers, broadcast=True)
    del future
    until_sync(lambda: inodes_of(client) <= before, what="the end of all segments")


def test_workers_are_not_killed_for_memory_that_they_share(tmp_path):
    with process_cluster(tmp_path, 3, "--memory-limit", "160MiB", "--name", "w") as cluster, cluster.client() as client:
        workers = sorted(client.ncores())
        future = client.scatter(tasks.make(numbers=15_000_000), workers=workers, broadcast=True)
        pids = client.run(os.getpid)
        # Resident in each are 120 MB of the array and 50 more: above the limit.  Its nanny looks every second.
        held = [client.submit(tasks.hold, future, 2.5, pure=False, workers=[worker]) for worker in workers]
        assert set(client.gather(held)) == set(pids.values())
        assert client.run(os.getpid) == pids


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_other_users_cannot_open_it(client, workers):
    future = client.submit(tasks.make, pure=False, workers=[workers[0]])
    view = future.result()
    segment, _ = locate(memoryview(view).cast("B"))
    path = f"/proc/{os.getpid()}/fd/{segment.fd}"
    mine = subprocess.run(["head", "-c", "8", path], capture_output=True, check=False)
    assert mine.stdout == view[:1].tobytes()
    theirs = subprocess.run(
        ["head", "-c", "8", path], capture_output=True, check=False, user=65534, group=65534, extra_groups=[]
    )
    assert theirs.returncode != 0
    assert theirs.stdout == b""
    assert b"Permission denied" in theirs.stderr


# -- kill -9 -------------------------------------------------------------------------------------


@pytest.fixture
def doomed(tmp_path):
    """A cluster of its own for tests that kill."""
    with process_cluster(tmp_path, 2, "--name", "w") as cluster:
        yield cluster


def test_a_view_outlives_the_worker_that_made_it(doomed):
    with doomed.client() as client:
        one, two = sorted(client.ncores())
        pids = client.run(os.getpid)
        future = client.submit(tasks.make, pure=False, workers=[one], allow_other_workers=True)
        client.submit(tasks.look, future, pure=False, workers=[two]).result()
        view = future.result()
        mine = held()
        os.kill(pids[one], signal.SIGKILL)
        until_sync(lambda: one not in client.ncores(), what="the death of the maker")
        assert np.array_equal(view, tasks.make())
        assert client.submit(tasks.look, future, pure=False, workers=[two]).result()[0] == SUM
        del view, future
        nobody_holds(mine)


def test_a_killed_reader_holds_nothing(doomed):
    with doomed.client() as client:
        one, two = sorted(client.ncores())
        pids = client.run(os.getpid)
        future = client.submit(tasks.make, pure=False, workers=[one])
        client.submit(tasks.look, future, pure=False, workers=[two]).result()
        mine = inodes_of(client)
        assert pids[two] in holders(mine)
        os.kill(pids[two], signal.SIGKILL)
        until_sync(lambda: pids[two] not in holders(mine), what="the reader's end")
        assert client.submit(tasks.look, future, pure=False, workers=[one]).result()[0] == SUM
        del future
        nobody_holds(mine)


def test_a_killed_cluster_leaves_nothing(doomed, expect_log):
    expect_log("lost the scheduler")
    names = set(os.listdir("/dev/shm"))
    with doomed.client() as client:
        one, two = sorted(client.ncores())
        future = client.submit(tasks.make, pure=False, workers=[one])
        client.submit(tasks.look, future, pure=False, workers=[two]).result()
        scattered = client.scatter(tasks.make(), workers=[one, two], broadcast=True)
        mine = inodes_of(client)
        assert len(mine) >= 2
        assert set(os.listdir("/dev/shm")) == names
        doomed.scheduler.kill()
        doomed.close()
        nobody_holds(mine)
        del future, scattered
    assert set(os.listdir("/dev/shm")) == names


PROGRAM = """
import sys, time
from distributed import Client
from tests.daemons import shared_tasks as tasks
client = Client(cluster_file=sys.argv[1])
future = client.scatter(tasks.make())
array = future.result()
print(future.key, flush=True)
time.sleep(100)
"""


def test_a_killed_client_leaves_nothing(cluster, client):
    before = inodes_of(client)
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(cluster.file)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with program:
        assert program.stdout.readline()
        mine = held(program.pid) | (inodes_of(client) - before)
        assert program.pid in holders(mine)
        program.kill()
    nobody_holds(mine, timeout_s=20.0)


# -- where it is not possible --------------------------------------------------------------------


def test_a_client_that_cannot_open_it_gets_bytes_and_says_so_once(client, workers, monkeypatch, expect_log):
    def closed(part, private=False):
        raise SharedMemoryError(f"cannot open the shared memory of process {part.pid}: Permission denied")

    expect_log("Permission denied; large data of .* come over the network instead")
    monkeypatch.setattr(exchange_module, "open_segment", closed)
    for seed in range(2):
        future = client.submit(tasks.make, float(seed), pure=False, workers=[workers[0]])
        result = future.result()
        assert (tasks.segment_of(result), result.flags.writeable) == (None, True)
        assert np.array_equal(result, tasks.make(float(seed)))


@pytest.mark.parametrize("field", ["fd", "token"])
def test_a_worker_that_is_pointed_at_something_else_gets_bytes(client, workers, monkeypatch, expect_log, field):
    true_name = Segment.named

    def wrong_name(segment, offset, length):
        named = true_name(segment, offset, length)
        setattr(named, field, {"fd": 9999, "token": b"x" * 16}[field])
        return named

    expect_log("large data of .* come over the network instead")
    monkeypatch.setattr(Segment, "named", wrong_name)
    future = client.scatter(tasks.make(), workers=[workers[0]])
    assert client.submit(tasks.look, future, pure=False).result() == (SUM, True, None)


def test_a_client_without_room_sends_bytes(client, workers, monkeypatch, expect_log):
    expect_log("no room to copy 4000000 bytes into shared memory; large data are sent")
    monkeypatch.setattr(exchange_module, "memory_left", lambda: 1000)
    future = client.scatter(tasks.make(), workers=[workers[0]])
    assert client.submit(tasks.look, future, pure=False).result() == (SUM, True, None)


def test_workers_that_do_not_share_send_and_get_bytes(tmp_path):
    with process_cluster(tmp_path, 2, "--shared-memory", "off") as cluster, cluster.client() as client:
        one, two = sorted(client.ncores())
        future = client.submit(tasks.make, pure=False, workers=[one])
        assert client.submit(tasks.look, future, pure=False, workers=[two]).result() == (SUM, True, None)
        assert tasks.segment_of(future.result()) is None
        scattered = client.scatter(tasks.make(), workers=[one])
        assert client.submit(tasks.look, scattered, pure=False).result() == (SUM, True, None)


def test_writable_workers_write_to_pages_of_their_own(tmp_path):
    with process_cluster(tmp_path, 2, "--shared-memory", "writable") as cluster, cluster.client() as client:
        one, two = sorted(client.ncores())
        future = client.submit(tasks.make, pure=False, workers=[one])
        total, writable, _ = client.submit(tasks.look, future, pure=False, workers=[two]).result()
        assert (total, writable) == (SUM, True)
        assert client.submit(tasks.write, future, pure=False, workers=[two]).result() == -10.0
        assert client.submit(tasks.look, future, pure=False, workers=[one]).result()[0] == SUM


def _can_unshare():
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _can_unshare(), reason="needs root and unshare for another process namespace")
def test_a_worker_in_a_container_of_its_own_sends_bytes(tmp_path):
    with contextlib.closing(ProcessCluster(tmp_path)) as cluster:
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        worker = [sys.executable, "-m", "distributed.cli.dworker", "--host", "127.0.0.1", "--nthreads", "1"]
        with (tmp_path / "worker.log").open("a") as err:
            process = subprocess.Popen(
                [*command, *worker, "--cluster-file", str(cluster.file)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=err,
                stderr=err,
                start_new_session=True,
            )
        cluster.processes.append(process)
        with cluster.client() as client:
            client.wait_for_workers(1, timeout_s=20.0)
            future = client.submit(tasks.make, pure=False)
            result = future.result()
            assert (result.sum(), tasks.segment_of(result)) == (SUM, None)
            scattered = client.scatter(tasks.make())
            assert client.submit(tasks.look, scattered, pure=False).result() == (SUM, True, None)


def test_what_cannot_be_pickled_is_still_the_users_error(client, workers):
    future = client.submit(tasks.make_unpicklable, pure=False, workers=[workers[0]])
    with pytest.raises(TaskError, match="cannot be pickled"):
        future.result()
