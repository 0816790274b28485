from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.logguard import LogGuard

ROOT = Path(__file__).parents[2]


@pytest.fixture
def guard():
    with LogGuard(("guarded",)) as guard:
        yield guard


log = logging.getLogger("guarded.part")


def test_an_unexpected_warning_is_a_complaint(guard):
    log.warning("worker %s lost", "w1")
    assert guard.complaint() == "unexpected log: WARNING guarded.part: worker w1 lost"


def test_info_is_no_complaint(guard):
    log.info("hello")
    assert guard.complaint() == ""


def test_an_announced_record_is_no_complaint(guard):
    guard.expect(r"worker \w+ lost")
    log.warning("worker w1 lost")
    assert guard.complaint() == ""


def test_an_announced_record_that_never_comes_is_a_complaint(guard):
    guard.expect("lost")
    assert guard.complaint() == "expected log never came: 'lost'"


def test_an_optional_record_may_stay_away(guard):
    guard.expect("lost", required=False)
    assert guard.complaint() == ""


def test_the_cause_is_part_of_the_complaint(guard):
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("no idea")
    assert "ValueError: broken" in guard.complaint()


def test_a_record_after_the_end_is_not_seen():
    with LogGuard(("guarded",)) as guard:
        pass
    log.warning("late")
    assert guard.complaint() == ""


@pytest.mark.expect_log("wanted here")
def test_the_marker_announces_records():
    logging.getLogger("distributed.test").warning("this is wanted here")


def test_the_fixture_announces_records(expect_log):
    expect_log("wanted too")
    logging.getLogger("launchers.test").warning("this is wanted too")


INNER = """
import logging, os

def test_logs_unannounced():
    logging.getLogger('distributed.x').warning('oh')

def test_home():
    assert os.environ['HOME'] != {home!r}
    assert os.environ['DLAUNCH_HOME'] == os.environ['HOME'] + '/.dlaunch'
    assert 'DLAUNCH_NTHREADS' not in os.environ
"""


def test_the_fixtures_hold_in_a_run_of_its_own(own_home, tmp_path):
    path = tmp_path / "test_inner.py"
    path.write_text(INNER.format(home=str(own_home)))
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    argv += ["-p", "no:hypothesispytest", "-p", "tests.conftest", f"--rootdir={ROOT}"]
    done = subprocess.run(
        [*argv, f"--config-file={ROOT}/pyproject.toml", str(path)],
        cwd=ROOT,
        env={**os.environ, "DLAUNCH_NTHREADS": "3"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "unexpected log: WARNING distributed.x: oh" in done.stdout
    # The test itself passed, its guard did not: an error, not a second failure.
    assert "2 passed, 1 error" in done.stdout, done.stdout
    assert done.returncode == 1
