"""Reading the project's Markdown: pages, links, anchors, blocks of code, quoted sentences."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RUNS = "<!-- runs -->"
_FENCE = re.compile(r"(?:^(<!-- runs -->)\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block; ``runs`` if it is marked as one that works as it stands."""

    page: Path
    language: str
    text: str
    runs: bool


def pages() -> list[Path]:
    """Return every page of the project."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[Block]:
    """Return all blocks in a language."""
    found = [Block(page, m[2], m[3], bool(m[1])) for page in pages() for m in _FENCE.finditer(page.read_text())]
    return [block for block in found if block.language == language]


def links(page: Path) -> list[str]:
    """Return the targets of a page's links, without those in code."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text()))
    return _LINK.findall(prose)


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings make."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def quoted_sentences(page: Path) -> list[str]:
    """Return what a page's tables quote in their second column."""
    rows = [line.split("|") for line in page.read_text().splitlines() if line.startswith("| ")]
    return [quote for row in rows if len(row) > 3 for quote in re.findall(r"`([^`]+)`", row[2])]


def source_texts() -> Iterator[str]:
    """Yield every text in our code, adjacent literals joined, with NUL for what is filled in."""
    for package in ("distributed", "launchers", "jobscripts"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(_part(value) for value in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield re.sub(r"%[sdrg]", "\0", node.value)


def _part(value: ast.expr) -> str:
    return str(value.value) if isinstance(value, ast.Constant) else "\0"
