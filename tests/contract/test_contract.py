"""Every launcher answers the same questions."""

from __future__ import annotations

import pytest

from launchers.registry import launcher_names, way_names
from launchers.testing import QUESTIONS
from tests.contract.beds import BEDS


def test_every_launcher_has_a_bed():
    assert sorted(BEDS) == sorted([*launcher_names(), *way_names()])


@pytest.mark.parametrize("name", BEDS)
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_contract(name, question, tmp_path):
    with BEDS[name](tmp_path) as bed:
        question(bed)
