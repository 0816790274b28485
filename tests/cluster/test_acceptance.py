"""The same script, a map of ten thousand tasks and Ctrl-C, on every real system: nothing differs, nothing stays."""

from __future__ import annotations

import pytest

from tests.cluster.dlaunch_runs import SUM_OF_SQUARES, folders, starting

SCRIPT = """
import time
from distributed import Client
client = Client()
print(sum(client.gather(client.map(lambda x: x * x, range(10_000)))), len(client.ncores()), flush=True)
time.sleep(600)
"""
INTERRUPTED = 130


@pytest.fixture(params=["slurm", "sge", "ssh", "local"])
def system(request):
    """A system's name, the bed that it is on, and the words that start four workers there."""
    # This machine needs only its user, which every bed has.
    bed = request.getfixturevalue({"local": "ssh"}.get(request.param, request.param))
    words = {"local": ["-n", "4"], "ssh": ["--hosts", ",".join(bed.nodes), "--host", bed.head]}
    return request.param, bed, words.get(request.param, ["-n", "4", "--host", bed.head])


def test_the_same_script_on_every_system(system, tmp_path_factory):
    name, bed, words = system
    path = bed.run(["mktemp", "-p", bed.home, "script-XXXXXX.py"]).stdout.strip()
    bed.run(["tee", path], input=SCRIPT)
    with starting(bed, tmp_path_factory, "dlaunch", name, *words) as dlaunch:
        run = dlaunch("--name", "same", "--wait", "all", "--", "python", path)
        run.until_said(SUM_OF_SQUARES, timeout_s=90)
        assert run.stdout.split() == [SUM_OF_SQUARES, "4"]
        assert run.stderr.count("submitted 4 jobs:") == 1
        listed = bed.run(["dlaunch", "list", "same"]).stdout.splitlines()
        assert "4 workers  4 jobs, 0 pending, 4 running" in listed[0]
        assert sorted(line.split()[0] for line in listed[2:]) == [f"same.{index}" for index in range(1, 5)]
        assert {line.split()[-1] for line in listed[2:]} == {"launched"}
        assert run.interrupt() == INTERRUPTED
        assert bed.queued() == []
        bed.assert_clean(timeout_s=5.0)
    # The command failed, so the logs stay.
    assert bed.run(["find", ".dlaunch/same", "-name", "*.json"]).stdout == ""
    bed.run(["rm", "-rf", ".dlaunch/same", path])
    assert "same" not in folders(bed)
