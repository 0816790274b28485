from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.gates.floors import FLOORS, NEVER, PACKAGES, TABLE, violations

ROOT = Path(__file__).parents[2]


def test_the_house_keeps_its_floors():
    assert "\n".join(violations(ROOT)) == ""


def test_the_table_speaks_of_known_floors_and_packages():
    assert {floor for _, floor in TABLE} == set(FLOORS)
    assert {pattern.partition("/")[0] for pattern, _ in TABLE} == set(PACKAGES)
    assert set(NEVER) <= set(PACKAGES)


def plant(root: Path, **files: str) -> list[str]:
    """Write files (``__`` is a slash in their names) and return what the check says."""
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return violations(root)


GOOD = {
    "distributed__errors": "class DistributedError(Exception): ...",
    "distributed__messages": "import msgspec\nfrom distributed.errors import DistributedError\n",
    "distributed__wire__frames": "import struct\nfrom distributed import messages\n",
    "distributed__comm": "import socket, tornado\nfrom distributed.wire import frames\n",
    "distributed__client__future": "from distributed import comm\n",
    "distributed__client__client": "from distributed.client import future\n",
    "distributed__cli__dworker": "from distributed.client.client import x\n",
    "launchers__jobs": "",
    "launchers__cli": "from distributed.cli import dworker\nimport jobscripts.rendering\n",
    "jobscripts__rendering": "import jinja2\n",
}


def test_a_good_house_has_no_violations(tmp_path):
    assert plant(tmp_path, **GOOD) == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("distributed__attic", "", "distributed/attic.py: unplaced module"),
        ("distributed__units", "import distributed.comm", "words may not import io"),
        ("distributed__wire__head", "from distributed.comm import x", "logic may not import io"),
        ("distributed__rpc", "import distributed.client.client", "io may not import daemons"),
        ("distributed__scheduler__daemon", "from distributed.cli import dworker", "import edges"),
        ("distributed__worker__daemon", "from distributed.client import client", "one another"),
        ("distributed__scheduler__state", "import time", "a pure module does not use time"),
        ("distributed__nanny__machine", "def f():\n    import os.path", "does not use os"),
        ("launchers__slurm", "from subprocess import run", "does not use subprocess"),
        ("jobscripts__quoting", "import logging", "does not use logging"),
        ("distributed__settings", "import click", "only the standard library and msgspec"),
        ("distributed__pool", "import launchers.jobs", "distributed never imports launchers"),
        ("distributed__pool", "from jobscripts import rendering", "never imports jobscripts"),
        ("jobscripts__find", "from distributed import errors", "never imports distributed"),
        ("distributed__pool", "def f():\n  from distributed import comm", "inside a function"),
        ("distributed__pool", "from distributed.gone import x", "there is no such module"),
        ("distributed__client__wait", "from . import future\nfrom ..cli import dworker", "edges"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, name, text, expected):
    found = plant(tmp_path, **{**GOOD, name: text})
    assert len(found) == 1, found
    assert expected in found[0]


def test_a_cycle_is_found_and_what_hangs_on_it_is_not_named(tmp_path):
    found = plant(
        tmp_path,
        distributed__comm="import distributed.errors",
        distributed__errors="",
        distributed__rpc="import distributed.pool",
        distributed__pool="from distributed import daemon, comm",
        distributed__daemon="import distributed.rpc",
        distributed__cli__dworker="import distributed.rpc",
    )
    assert found == ["import cycle: distributed.daemon <-> distributed.pool <-> distributed.rpc"]


def test_a_hidden_import_from_outside_is_allowed(tmp_path):
    text = "def f():\n    import numpy\n"
    assert plant(tmp_path, **{**GOOD, "distributed__worker__store": text}) == []


def test_an_import_in_a_branch_counts(tmp_path):
    text = "if True:\n    try:\n        import distributed.cli.run\n    finally: ...\n"
    (found,) = plant(tmp_path, **{**GOOD, "distributed__cli__run": "", "distributed__comm": text})
    assert "distributed/comm.py:3" in found
