"""The page about failures: each row names a test, and there is such a test."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.docs_pages import ROOT

PAGE = (ROOT / "docs" / "failures.md").read_text()
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (?!what goes wrong|---)", line)]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_row_names_a_test() -> None:
    assert len(ROWS) > 70
    assert [row for row in ROWS if not NAMED.search(row.rpartition(" | ")[2])] == []


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED.findall(PAGE))))
def test_the_named_test_is_there(path: str, name: str) -> None:
    assert (ROOT / "tests" / path).is_file()
    assert name in names_in(path)


def test_nothing_else_stands_where_tests_are_named() -> None:
    for row in ROWS:
        cell = row.rpartition(" | ")[2].removesuffix(" |")
        assert NAMED.sub("", cell).replace(", ", "") == "", cell
