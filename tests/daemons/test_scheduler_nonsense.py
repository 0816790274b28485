"""The scheduler's port and its streams under nonsense: of strangers, and of members of the cluster."""

import asyncio
import contextlib
import random
import re

import pytest

from distributed.clusterfile import default_secret
from distributed.comm import connect
from distributed.errors import CommError
from distributed.messages import (
    CancelKeys,
    DataAdded,
    DataDropped,
    DataScattered,
    ErrorInfo,
    FetchFailed,
    Heartbeat,
    ReleaseKeys,
    Reply,
    Request,
    RetryKeys,
    SubmitTasks,
    TaskErred,
    TaskFinished,
    TaskMissingData,
    TaskOptions,
    TaskReturned,
    TaskSpec,
    WantKeys,
)
from distributed.payloads import Buffer
from distributed.pool import rpc
from distributed.scheduler import Scheduler
from distributed.wire.failure import load_error
from distributed.wire.frames import HEAD
from tests.aio import run_async
from tests.daemons.linkbed import SECRET, Stranger
from tests.daemons.nannybed import program

KEYS = ["a", "b", "c", "", "x" * 50, "é"]
NUMBERS = [0, 1, 2, 3, -1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1]
TIMES = [0.0, -1.0, 1e308, float("inf"), float("nan")]
PLACES = ["127.0.0.1:1", "127.0.0.1:2", "w1", "", "nonsense"]
PAYLOADS = [b"", b"junk", [], [b"x"], [Buffer(b"y" * 70_000)], ["text", 5], [None]]
OPERATIONS = [
    "identity",
    "ncores",
    "who_has",
    "has_what",
    "nbytes",
    "gather",
    "scatter",
    "broadcast",
    "replicate",
    "rebalance",
    "worker_exited",
    "retire_workers",
    "wait_for_workers",
    "restart",
    "no_such",
    "register_client",
]


class Babbler:
    """Messages of the right types with contents that make no sense, the same again for the same seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.pick = self.random.choice

    def keys(self):
        return [self.pick(KEYS) for _ in range(self.random.randrange(3))]

    def options(self):
        resources = self.pick([None, {}, {"GPU": self.pick(TIMES)}, {"": 1.0}])
        workers = self.pick([None, [], ["w1"], ["nowhere"]])
        return TaskOptions(
            self.pick(NUMBERS[:6]), self.pick([0, -5, 10**9]), workers, self.pick([True, False]), resources
        )

    def spec(self):
        options = self.options() if self.pick([True, False]) else None
        return TaskSpec(self.pick(KEYS), self.pick(["f", "g", ""]), self.pick(PAYLOADS), self.keys(), options)

    def error(self):
        data = self.pick([{}, {"key": 5}, {"key": "k", "causes": [1]}])
        name = self.pick(["ValueError", "distributed.errors.KilledWorker", ""])
        return ErrorInfo(name, "m", "t", self.pick(PAYLOADS), "w", data)

    def of_client(self):
        return self.pick(
            [
                lambda: SubmitTasks(
                    [self.spec() for _ in range(3)], self.pick([{}, {"f": b"F", "g": self.pick(PAYLOADS)}])
                ),
                lambda: WantKeys(self.keys()),
                lambda: ReleaseKeys(self.keys()),
                lambda: CancelKeys(self.keys(), self.pick([True, False])),
                lambda: RetryKeys(self.keys()),
                lambda: DataScattered({self.pick(KEYS): (self.pick(NUMBERS), [self.pick(PLACES)])}),
                self.request,
            ]
        )()

    def of_worker(self):
        key, run = self.pick(KEYS), self.pick(NUMBERS)
        return self.pick(
            [
                lambda: TaskFinished(
                    key, run, self.pick(NUMBERS), self.pick(TIMES), "int", self.pick([None, *PAYLOADS])
                ),
                lambda: TaskErred(key, run, self.error(), self.pick(TIMES)),
                lambda: TaskReturned(key, run),
                lambda: TaskMissingData(key, run, {self.pick(KEYS): [self.pick(PLACES)]}),
                lambda: DataAdded({key: self.pick(NUMBERS)}),
                lambda: DataDropped([key]),
                lambda: FetchFailed({key: [self.pick(PLACES)]}),
                lambda: Heartbeat(run, self.pick(NUMBERS), self.pick([True, False])),
                lambda: Reply(run, 5),
            ]
        )()

    def request(self):
        kwargs = self.pick(
            [
                {},
                {"keys": self.keys()},
                {"keys": self.keys(), "n": self.pick(NUMBERS)},
                {"workers": [self.pick(PLACES)], "reason": "r"},
                {"data": {self.pick(KEYS): self.pick(PAYLOADS)}, "client": "me"},
                {"message": self.pick([{}, {"op": 5}, {"op": "nope"}, {"op": "ping"}])},
                {"n": self.pick(NUMBERS), "timeout_s": 0.01},
                {"timeout_s": 0.01},
                {"worker": self.pick(PLACES), "reason": "x", "expected": True},
            ]
        )
        return Request(self.pick(OPERATIONS), kwargs, self.pick([1, 2, 2**63]))


async def swallow(connection):
    with contextlib.suppress(CommError):
        while True:
            await connection.read()


async def join(scheduler, op, **kwargs):
    connection = await connect(scheduler.address, secret=SECRET)
    connection.send(Request(op, kwargs, 1))
    return connection, asyncio.ensure_future(swallow(connection))


async def babble(seed):
    """A client and two workers talk nonsense to a scheduler for a while."""
    babbler = Babbler(seed)
    scheduler = Scheduler(host="127.0.0.1", secret=SECRET)
    await scheduler.start(0)
    client, *workers = [
        await join(scheduler, "register_client", client="me"),
        await join(scheduler, "register_worker", address="127.0.0.1:1", name="w1", nthreads=2, data={"a": 2**64 - 1}),
        await join(scheduler, "register_worker", address="127.0.0.1:2", name="w2", nthreads=1, memory_limit=-1),
    ]
    for step in range(150):
        # Now and then somebody plays another's part.
        of_client = (step % 3 == 0) != (babbler.random.random() < 0.1)
        connection = client[0] if step % 3 == 0 else workers[step % 2][0]
        with contextlib.suppress(CommError):
            connection.send(babbler.of_client() if of_client else babbler.of_worker())
        await asyncio.sleep(0)
    state = (scheduler.status, scheduler.exit_code)
    for connection, reading in (client, *workers):
        connection.abort()
        await reading
    await scheduler.close()
    return state


@pytest.mark.parametrize("seed", range(12))
def test_members_that_talk_nonsense_do_not_bring_the_scheduler_down(seed, expect_log):
    expect_log("", required=False)  # whatever it says about it
    assert run_async(babble(seed)) == ("running", 0)


def test_a_worker_with_an_absurd_number_of_threads_is_refused():
    async def main():
        scheduler = Scheduler(host="127.0.0.1", secret=SECRET)
        await scheduler.start(0)
        for nthreads in (0, -1, 10**9):
            connection = await connect(scheduler.address, secret=SECRET)
            connection.send(Request("register_worker", {"address": "127.0.0.1:1", "nthreads": nthreads}, 1))
            [reply] = await connection.read()
            assert "operation register_worker: Expected `int`" in str(load_error(reply.error))
            await connection.close()
        await scheduler.close()

    run_async(main())


# -- the real program ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def dscheduler():
    options = ("--host", "127.0.0.1", "--port", "0", "--log-level", "WARNING")
    with program("-m", "distributed.cli.dscheduler", *options) as process:
        line = process.stdout.readline()
        assert line.startswith("Start scheduler at 127.0.0.1:"), line or process.stderr.read()
        yield process, line.split()[-1]


def told(process):
    """End a scheduler; its exit code and the lines of its log."""
    process.terminate()
    _, err = process.communicate(timeout=10)
    return process.returncode, err.splitlines()


async def shout(address, data):
    host, port = address.split(":")
    stranger = Stranger(*await asyncio.open_connection(host, int(port)))
    await stranger.say(data)
    assert await stranger.hear() == b""
    return stranger.address


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes(range(200, 256)), "the peer sent .*, which is not a dlaunch hello"),
        (b"GET / HTTP/1.1\r\n\r\n", "the peer speaks HTTP"),
        ((2**63).to_bytes(8, "little") * 10, "not a dlaunch hello"),
    ],
    ids=["garbage", "HTTP", "2^63"],
)
def test_a_stranger_on_the_real_port_is_one_log_line(data, words):
    with dscheduler() as (process, address):
        stranger = run_async(shout(address, data))
        assert rpc(address).ping() == "pong"
        code, lines = told(process)
    assert code == 0
    [line] = lines
    assert re.search(rf"WARNING - refused {stranger}: .*{words}", line)


def test_a_members_nonsense_on_the_real_port_leaves_it_serving():
    async def main(address):
        connection = await connect(address, secret=default_secret())
        for body in (
            b"\xc1",
            b"\x91\x92\x01\x05",
            b"\x91\x94\x01\xa8no_such!\x80\x01",
            b"\x91\x95\x01\xa1x\x80\x00\x00",
        ):
            connection._sock.sendall(HEAD.pack(1, len(body)) + body)
            [reply] = await connection.read()
            assert reply.error is not None
        connection._sock.sendall(HEAD.pack(1, 2**63))
        [reply] = await connection.read()
        assert "the limit is" in reply.error.message
        connection.abort()

    with dscheduler() as (process, address):
        run_async(main(address))
        assert rpc(address).identity()["type"] == "Scheduler"
        code, lines = told(process)
    assert code == 0
    assert all("sent nonsense" in line for line in lines)


def test_a_strangers_dworker_is_refused_with_one_log_line(tmp_path):
    with dscheduler() as (process, address):
        options = ("--no-nanny", "--host", "127.0.0.1", "--death-timeout", "2s")
        variables = {"DLAUNCH_HOME": str(tmp_path / "another")}
        with program("-m", "distributed.cli.dworker", address, *options, **variables) as worker:
            _, err = worker.communicate(timeout=20)
            assert worker.returncode == 1
            assert "it belongs to another cluster (the secrets differ)" in err
            assert "Traceback" not in err
        assert rpc(address).identity()["workers"] == {}
        code, lines = told(process)
    assert code == 0
    [line] = lines
    assert re.search(
        r"WARNING - refused worker \S+@\S+ pid \d+ \(127.0.0.1:\d+\): it holds another cluster secret", line
    )
