import subprocess
import sys

import pytest

from distributed import logs

PROGRAM = """
import logging, sys
from distributed import logs
logs.configure(*sys.argv[1:])
for level in (logging.DEBUG, logging.INFO, logging.WARNING):
    logging.getLogger("distributed.x").log(level, "at %s", level)
    logging.getLogger("tornado.access").log(level, "tornado at %s", level)
"""


def run(*arguments, **variables):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={"PYTHONPATH": ":".join(sys.path), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    return [line.split(" ", 2)[2] for line in done.stderr.splitlines()]


def test_lines_go_to_stderr_from_info_up():
    assert run() == ["distributed.x - INFO - at 20", "distributed.x - WARNING - at 30"]


def test_the_argument_wins_over_the_variable():
    assert run("WARNING", DLAUNCH_LOG_LEVEL="DEBUG") == ["distributed.x - WARNING - at 30"]
    assert len(run(DLAUNCH_LOG_LEVEL="debug")) == 3


@pytest.mark.parametrize("level", ["loud", "", "5"])
def test_an_unknown_level_is_refused(level, monkeypatch):
    monkeypatch.setenv("DLAUNCH_LOG_LEVEL", level or "x")
    with pytest.raises(ValueError, match="is not a log level"):
        logs.configure()
