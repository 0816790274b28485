"""What docs/plugins.md shows is what lies in examples/lsf-plugin, where its own tests run."""

from __future__ import annotations

import pytest

from tests.docs_pages import ROOT, blocks

SAMPLE = ROOT / "examples" / "lsf-plugin"


def shown(language: str) -> list[str]:
    return [block.text for block in blocks(language) if block.page.name == "plugins.md"]


@pytest.mark.parametrize(
    ("language", "files"),
    [("jinja", ["dlaunch_lsf/lsf.sh.j2"]), ("python", ["dlaunch_lsf/lsf.py", "tests/test_lsf.py"])],
)
def test_the_page_shows_the_files_as_they_are(language, files):
    assert shown(language) == [(SAMPLE / file).read_text() for file in files]


def test_the_page_shows_the_door():
    text = shown("toml")[0]
    project = (SAMPLE / "pyproject.toml").read_text()
    for part in text.split("\n\n"):
        assert part.strip() in project
