"""What every test gets: its ring as a marker, a home of its own, and a guard over the logs."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.logguard import LogGuard

TESTS = Path(__file__).parent
RINGS = ("unit", "model", "contract", "daemons", "cluster")
KEPT_VARIABLES = {"DLAUNCH_REQUIRE_CLUSTERS", "DLAUNCH_KEEP_BED"}


def pytest_configure() -> None:
    """Have signals do here, and so in all that tests start, what they do in a terminal.

    A shell starts what it puts into the background with some of them ignored, and children inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its ring, which is the folder it lives in."""
    for item in items:
        parts = item.path.relative_to(TESTS).parts if item.path.is_relative_to(TESTS) else ()
        if parts and parts[0] in RINGS:
            item.add_marker(getattr(pytest.mark, parts[0]))


@pytest.fixture(autouse=True, scope="session")
def checkout() -> Iterator[None]:
    """Fail the run if a test left a file beside the sources, as a batch system does that was not told where to."""
    before = set(os.listdir(TESTS.parent))
    yield
    left = sorted(name for name in set(os.listdir(TESTS.parent)) - before if not name.startswith("."))
    assert not left, f"left behind in the checkout: {left}"


@pytest.fixture(autouse=True)
def log_guard(request: pytest.FixtureRequest) -> Iterator[LogGuard]:
    """Fail a test that logs a WARNING or worse it did not announce, or announced in vain."""
    patterns = [str(pattern) for marker in request.node.iter_markers("expect_log") for pattern in marker.args]
    guard = LogGuard()
    for pattern in patterns:
        guard.expect(pattern)
    with guard:
        yield guard
    if complaint := guard.complaint():
        pytest.fail(complaint, pytrace=False)


@pytest.fixture
def expect_log(log_guard: LogGuard) -> Callable[..., re.Pattern[str]]:
    """``expect_log(pattern, required=True)``: announce a log record from within a test.

    ``required=False`` is for records that depend on who is faster.
    """
    return log_guard.expect


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point every folder that dlaunch looks into at an empty one; drop the caller's settings."""
    # A short name: sockets live below it, and their paths may not exceed 107 bytes.
    home = tmp_path_factory.mktemp("h")
    for name in [name for name in os.environ if name.startswith("DLAUNCH_")]:
        if name not in KEPT_VARIABLES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("DLAUNCH_HOME", str(home / ".dlaunch"))
    return home
