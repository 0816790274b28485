"""The command ``dworker`` as a process of its own: printed lines, signals, exit codes, nobody left."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from distributed.clusterfile import ClusterFile, default_secret, path_of
from tests.aio import run_async, until, until_sync
from tests.daemons.nannybed import (
    NotingScheduler,
    children,
    dworker,
    end_of,
    family,
    gone,
    line_of,
)

LOCAL = ("--host", "127.0.0.1")


@contextlib.asynccontextmanager
async def scheduler(secret=None):
    stub = NotingScheduler(secret=secret or default_secret())
    await stub.start(0)
    try:
        yield stub
    finally:
        await stub.close()


async def ready(stub, count=1):
    await until(lambda: len(stub.workers) == count, what=f"{count} workers")


@pytest.mark.parametrize("how", [[], ["--no-nanny"]])
def test_the_lines_of_the_founding_document(how):
    async def main():
        async with scheduler() as stub:
            with dworker(stub.address, *LOCAL, *how) as process:
                first, second = await line_of(process), await line_of(process)
                await ready(stub)
                (address,) = stub.workers
                assert first == f"Start worker at:            {address}"
                assert second == f"Registered with center at:  {stub.address}"

    run_async(main())


@pytest.mark.parametrize("how", [[], ["--no-nanny"]])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_goodbye_and_exit_code_0(number, how):
    async def main():
        async with scheduler() as stub:
            with dworker(stub.address, *LOCAL, *how) as process:
                await line_of(process)
                await line_of(process)  # only who knows that it is registered has somebody to say goodbye to
                (address,) = stub.workers
                below = family(process.pid)
                process.send_signal(number)
                assert await end_of(process) == 0
                await until(lambda: stub.goodbyes == [address])
                assert gone(below)
                assert stub.exits == []
                assert "Traceback" not in process.stderr.read()

    run_async(main())


def test_ctrl_c_at_a_terminal_reaches_everybody_and_is_still_clean():
    async def main():
        async with scheduler() as stub:
            with dworker(stub.address, *LOCAL, "--nprocs", "3") as process:
                await ready(stub, 3)
                below = family(process.pid)
                os.killpg(process.pid, signal.SIGINT)
                assert await end_of(process) == 0
                await until(lambda: len(stub.goodbyes) == 3)
                assert gone(below)

    run_async(main())


def test_a_batch_system_that_terminates_everybody_is_still_clean():
    async def main():
        async with scheduler() as stub:
            with dworker(stub.address, *LOCAL, "--nprocs", "3") as process:
                await ready(stub, 3)
                below = family(process.pid)
                os.killpg(process.pid, signal.SIGTERM)
                assert await end_of(process) == 0
                await until(lambda: len(stub.goodbyes) == 3)
                assert gone(below)

    run_async(main())


def test_a_second_signal_ends_everything_at_once():
    async def main():
        async with scheduler() as stub:
            with dworker(stub.address, *LOCAL) as process:
                await ready(stub)
                below = family(process.pid)
                os.kill(stub.pids()[0], signal.SIGSTOP)  # it will not say goodbye
                process.send_signal(signal.SIGINT)
                await until(lambda: not _listens(process))

                def ended() -> bool:
                    process.send_signal(signal.SIGINT)  # at first they are still the same order
                    return process.poll() is not None

                await until(ended)
                assert process.returncode == 128 + signal.SIGINT
                until_sync(lambda: gone(below), timeout_s=1.0)

    run_async(main())


def _listens(process):
    """Whether the nanny still listens: it stops doing so when it begins to close."""
    inodes = set()
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{process.pid}/fd"):
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(f"/proc/{process.pid}/fd/{fd}"))
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return any(row[3] == "0A" and f"socket:[{row[9]}]" in inodes for row in rows)


def test_several_workers_have_numbered_names_and_one_fork_server():
    async def main():
        async with scheduler() as stub:
            options = ["--nprocs", "4", "--name", "n7", "--nthreads", "2", "--memory-limit", "1GB"]
            options += ["--resources", "GPU=2,licence=1", "--job-id", "77_3"]
            with dworker(stub.address, *LOCAL, *options) as process:
                await ready(stub, 4)
                assert sorted(known["name"] for known in stub.workers.values()) == [
                    "n7-0",
                    "n7-1",
                    "n7-2",
                    "n7-3",
                ]
                for known in stub.workers.values():
                    assert known["nthreads"] == 2
                    assert known["memory_limit"] == 10**9
                    assert known["resources"] == {"GPU": 2.0, "licence": 1.0}
                    assert known["job_id"] == "77_3"
                assert len({known["nanny"] for known in stub.workers.values()}) == 4
                (server,) = children(process.pid)
                assert sorted(children(server)) == sorted(stub.pids())

    run_async(main())


def test_a_dworker_killed_with_9_leaves_no_worker():
    async def main():
        async with scheduler() as stub:
            with dworker(stub.address, *LOCAL, "--nprocs", "4") as process:
                await ready(stub, 4)
                below = family(process.pid)
                assert len(below) == 5
                process.kill()
                await until(lambda: gone(below), timeout_s=1.0, what="the end of the workers")

    run_async(main())


def test_killed_workers_are_reported_and_come_back():
    async def main():
        async with scheduler() as stub:
            with dworker(stub.address, *LOCAL, "--nprocs", "4") as process:
                await ready(stub, 4)
                victims = stub.pids()[:2]
                for pid in victims:
                    os.kill(pid, signal.SIGKILL)
                await until(lambda: stub.registrations == 6)
                assert {reason for _, reason, _ in stub.exits} == {"killed by signal 9 (SIGKILL)"}
                assert len(stub.workers) == 4
                assert process.poll() is None

    run_async(main())


@pytest.mark.parametrize("how", [[], ["--no-nanny"]])
def test_a_scheduler_that_is_gone_for_the_death_timeout_is_exit_code_3(how):
    async def main():
        async with scheduler() as stub:
            with dworker(stub.address, *LOCAL, "--death-timeout", "0.5s", *how) as process:
                await ready(stub)
                below = family(process.pid)
                await stub.close()
                assert await end_of(process) == 3
                assert gone(below)
                assert "giving up" in process.stderr.read()

    run_async(main())


def test_it_says_where_it_waits():
    async def main():
        async with scheduler() as stub:
            address = stub.address
        with dworker(address, *LOCAL, "--death-timeout", "1s") as process:
            assert await end_of(process) == 3
            err = process.stderr.read()
            assert f"Waiting to connect to: {address}" in err
            assert "Traceback" not in err

    run_async(main())


def test_it_waits_for_a_scheduler_that_comes_later():
    async def main():
        async with scheduler() as stub:
            port = stub.port
        with dworker(f"127.0.0.1:{port}", *LOCAL) as process:
            await line_of(process)
            late = NotingScheduler(secret=default_secret())
            await late.start(port)
            await ready(late)
            await late.close()

    run_async(main())


def test_a_cluster_file_says_where_and_with_which_secret(tmp_path):
    async def main():
        secret = b"c" * 32
        async with scheduler(secret) as stub:
            ClusterFile.new("mine", [stub.address], secret).write(path_of("mine"))
            with dworker("--cluster", "mine", *LOCAL):
                await ready(stub)
            await until(lambda: not stub.workers)
            with dworker(*LOCAL, DLAUNCH_CLUSTER_FILE=str(path_of("mine"))):
                await ready(stub)
            await until(lambda: not stub.workers)
            path = tmp_path / "other.json"
            ClusterFile.new("mine", [stub.address], secret).write(path)
            with dworker("--cluster-file", str(path), *LOCAL, "--no-nanny"):
                await ready(stub)

    run_async(main())


def test_neither_arguments_nor_environment_hold_the_secret():
    async def main():
        secret = b"\xab" * 32
        async with scheduler(secret) as stub:
            ClusterFile.new("mine", [stub.address], secret).write(path_of("mine"))
            with dworker("--cluster", "mine", *LOCAL) as process:
                await ready(stub)
                for pid in [process.pid, *family(process.pid)]:
                    for name in ("cmdline", "environ"):
                        content = Path(f"/proc/{pid}/{name}").read_bytes()
                        assert secret.hex().encode() not in content
                        assert secret not in content

    run_async(main())


def test_a_stranger_is_refused_in_words_and_with_exit_code_1(expect_log):
    expect_log("refused")

    async def main():
        async with scheduler(b"z" * 32) as stub:
            with dworker(stub.address, *LOCAL) as process:
                assert await end_of(process) == 1
                assert "belongs to another cluster" in process.stderr.read()
                assert stub.registrations == 0

    run_async(main())


def test_terminating_the_nanny_ends_the_command():
    async def main():
        async with scheduler() as stub:
            with dworker(stub.address, *LOCAL) as process:
                await ready(stub)
                ((_, known),) = stub.workers.items()
                await stub.pool.request(known["nanny"], "terminate")
                assert await end_of(process) == 0

    run_async(main())


def test_threads_of_libraries_are_limited_to_the_workers():
    async def main():
        async with scheduler() as stub:
            environment = {"OPENBLAS_NUM_THREADS": "5"}
            with dworker(stub.address, *LOCAL, "--nthreads", "3", **environment):
                await ready(stub)
                from distributed.wire.payload import dumps, loads

                names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
                (address,) = stub.workers
                wanted = dumps((lambda: [os.environ.get(name) for name in names], (), {}))
                seen = loads(await stub.pool.request(address, "run", function=wanted))
                assert seen == ["3", "5"]

    run_async(main())


def test_bad_input_through_the_real_door():
    for options, code, words in [
        (["somewhere"], 2, "'somewhere' is not an address: write HOST:PORT"),
        (["no.such.host.invalid:1"], 1, "the host name .* cannot be resolved"),
        (["127.0.0.1:1", "--host", "10.255.255.1"], 1, "is not an address of this host"),
    ]:
        with dworker(*options) as process:
            _, err = process.communicate(timeout=20)
            assert process.returncode == code, err
            assert re.search(words, err)
            assert "Traceback" not in err


def test_a_port_in_use_is_one_sentence(tmp_path):
    async def main():
        async with scheduler() as stub:
            port = str(stub.port)
            for options in (["--nanny-port", port], ["--worker-port", port]):
                with dworker(stub.address, *LOCAL, *options) as process:
                    assert await end_of(process) == 1
                    err = process.stderr.read()
                    assert f"port {port} is in use" in err
                    assert "Traceback" not in err

    run_async(main())
