"""Jobscripts that a user submits without ``dlaunch``, to a scheduler started without it, on the real systems."""

from __future__ import annotations

import contextlib
import re
import subprocess

import pytest

from tests.aio import until_sync

WORK = """
import time
from distributed import Client
client = Client(cluster="default")
futures = client.map(lambda x: time.sleep(0.05) or x * x, range(800), pure=False)
print("going", flush=True)
print(sum(client.gather(futures)), flush=True)
"""
SUM = str(sum(x * x for x in range(800)))


class Hand:
    """How a user works on one system: submits ``count`` elements of a file, cancels, and how an element is called."""

    def __init__(self, bed, system: str, submit: str, cancel: str, mark: str) -> None:
        self.bed = bed
        self.system = system
        self._submit = submit
        self._cancel = cancel
        self._mark = mark

    def submit(self, path: str, count: int) -> str:
        argv = self._submit.format(count=count).split()
        return re.match(r"\d+", self.bed.run([*argv, path]).stdout)[0]

    def element(self, job: str, index: int) -> str:
        return f"{job}{self._mark}{index}"

    def cancel(self, what: str) -> None:
        self.bed.run([self._cancel, what])


@pytest.fixture(params=["slurm", "sge"])
def hand(request):
    bed = request.getfixturevalue(request.param)
    if request.param == "slurm":
        return Hand(bed, "slurm", "sbatch --parsable --array=1-{count}", "scancel", "_")
    return Hand(bed, "sge", "qsub -terse -t 1-{count}", "qdel", ".")


@pytest.fixture
def script(hand):
    """The jobscript of a dry run, in a file of the user's."""
    path = hand.bed.run(["mktemp", "-p", hand.bed.home]).stdout.strip()
    text = hand.bed.run(["dlaunch", hand.system, "-n", "3", "--dry-run"]).stdout
    hand.bed.run(["tee", path], input=text)
    yield path
    hand.bed.run(["rm", "-rf", path, ".dlaunch/default"])


@contextlib.contextmanager
def started(bed, *argv: str):
    """A scheduler by hand; its address."""
    with bed.popen([*argv, "--host", bed.head], stderr=subprocess.STDOUT) as process:
        try:
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.terminate()
            process.communicate(timeout=30)


def workers(bed) -> list[list[str]]:
    """The rows that ``dlaunch list`` shows."""
    return [line.split() for line in bed.run(["dlaunch", "list", "default"]).stdout.splitlines()[2:]]


def until_there(bed, names: list[str]) -> None:
    seen = [names]

    def there() -> bool:
        seen.append([row[0] for row in workers(bed)])
        return sorted(seen[-1]) == sorted(names)

    try:
        until_sync(there, 60)
    except AssertionError as error:
        raise AssertionError(f"{names} were to be there, not {seen[-1]}; queued: {bed.queued()}") from error


def test_workers_of_a_script_submitted_by_hand_are_adopted(hand, script, tmp_path):
    bed = hand.bed
    with started(bed, "dscheduler", "--port", "0"):
        job = hand.submit(script, 8)
        names = [hand.element(job, index) for index in range(1, 9)]
        until_there(bed, names)
        assert {(row[0], row[4], row[5]) for row in workers(bed)} == {(name, name, "adopted") for name in names}
        with (tmp_path / "out").open("w") as out, bed.popen(["python", "-c", WORK], stdout=out, stderr=out) as work:
            until_sync(lambda: "going" in (tmp_path / "out").read_text(), 30)
            hand.cancel(names[2])
            until_there(bed, [name for name in names if name != names[2]])
            assert work.wait(timeout=60) == 0, (tmp_path / "out").read_text()
        assert (tmp_path / "out").read_text().split() == ["going", SUM], "no result is lost"
        assert len(bed.queued()) == 7
        # The next day: other workers beside these.
        again = hand.submit(script, 2)
        until_sync(lambda: len(workers(bed)) == 9, 60)
        hand.cancel(job)
        until_there(bed, [hand.element(again, 1), hand.element(again, 2)])
        hand.cancel(again)
        until_sync(lambda: bed.queued() == [] and workers(bed) == [], 60)
    bed.assert_clean()


def test_dlaunch_head_and_a_script(hand, script):
    bed = hand.bed
    with started(bed, "dlaunch", "head") as (head, address):
        assert head.stdout.readline().startswith('Connect by: Client(cluster="default")')
        assert bed.run(["dlaunch", "list"]).stdout.split()[:3] == ["default", "head", address]
        job = hand.submit(script, 2)
        until_there(bed, [hand.element(job, 1), hand.element(job, 2)])
        hand.cancel(job)
        until_sync(lambda: bed.queued() == [] and workers(bed) == [], 60)
        assert bed.run(["dlaunch", "stop", "default"]).stdout == "default has ended\n"
        said = head.stdout.read()
        assert head.wait(timeout=30) == 0
    assert "dlaunch: 2 workers adopted\n" in said
    bed.assert_clean()
