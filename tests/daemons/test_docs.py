"""What the pages say works is run as it stands there."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs_pages import ROOT, Block, blocks

RUNNING = [block for block in blocks("python") if block.runs]
COMMANDS = [block for block in blocks("sh") if block.runs]
PROGRAMS = ("dscheduler", "dworker", "dlaunch")


def run(argv: list[str], programs: str = "") -> str:
    path = [programs, str(Path(sys.executable).parent), os.environ["PATH"]]
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env=os.environ | {"PATH": os.pathsep.join(filter(None, path)), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def name(block: Block) -> str:
    return block.page.stem


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A folder with our commands of this checkout, installed or not."""
    for program in PROGRAMS:
        file = tmp_path / program
        file.write_text(f"#!{sys.executable}\nfrom launchers import doors\ndoors.{program}()\n")
        file.chmod(0o755)
    return str(tmp_path)


def test_the_page_about_the_client_is_true() -> None:
    page = str(ROOT / "docs" / "client.md")
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    # In a program of its own, whose functions are those of __main__, as they are for a reader.
    program = (
        "import doctest, sys; "
        f"sys.exit(doctest.testfile({page!r}, False, optionflags={flags}, "
        "globs=vars(sys.modules['__main__'])).failed)"
    )
    run([sys.executable, "-c", program])


@pytest.mark.parametrize("block", RUNNING, ids=name)
def test_python_that_is_said_to_run_runs(block: Block) -> None:
    run([sys.executable, "-c", block.text])


@pytest.mark.parametrize("block", COMMANDS, ids=name)
def test_commands_that_are_said_to_run_run(block: Block, programs: str) -> None:
    run(["bash", "-euc", block.text], programs)
