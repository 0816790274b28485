"""The pages: links lead somewhere, tables are the code's, quoted sentences are the program's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import docs_tables
from tests.docs_pages import ROOT, anchors, blocks, links, pages, quoted_sentences, source_texts

PAGES = pages()
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in links(page):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)
    assert dead == []


def test_every_page_of_docs_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in links(index)}
    there = set((ROOT / "docs").rglob("*.md")) - {index}
    assert sorted(there - linked) == []


@pytest.mark.parametrize("page", docs_tables.pages(), ids=lambda page: page.name)
def test_tables_are_those_of_the_code(page: Path) -> None:
    assert docs_tables.updated(page.read_text()) == page.read_text(), "run: python -m tests.docs_tables"


def test_every_message_is_in_the_table() -> None:
    table = docs_tables.message_table()
    missing = [message.__name__ for message in docs_tables.MESSAGE_TYPES if f"`{message.__name__}`" not in table]
    assert missing == []


@pytest.mark.parametrize("language", ["python", "pycon", "sh"])
def test_blocks_in_python_are_python(language: str) -> None:
    found = blocks(language)
    assert found or language == "sh"
    for block in found:
        if language == "python":
            compile(block.text, str(block.page), "exec")


def test_quoted_sentences_are_printed_by_the_program() -> None:
    texts = "\n".join(source_texts())
    quotes = quoted_sentences(ROOT / "docs" / "troubleshooting.md")
    assert len(quotes) > 20
    unknown = [quote for quote in quotes if not re.search(_pattern(quote), texts)]
    assert unknown == []


def _pattern(quote: str) -> str:
    return "\0".join(re.escape(part) for part in quote.split("…"))
