from __future__ import annotations

from pathlib import Path

import pytest

from tests.gates.budgets import (
    FUNCTION_LINES,
    MEDIAN_FUNCTION_LINES,
    median_function_lines,
    violations,
)

ROOT = Path(__file__).parents[2]


def test_the_house_keeps_its_budgets():
    assert "\n".join(violations(ROOT)) == ""


def test_the_median_function_is_short():
    assert median_function_lines(ROOT) <= MEDIAN_FUNCTION_LINES


def plant(root: Path, name: str, text: str) -> list[str]:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return violations(root)


HEAD = '"""Words."""\n\n'
LONG = "    pass\n" * (FUNCTION_LINES - 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("distributed/x.py", HEAD + "#\n" * 498),
        ("distributed/x.py", HEAD + f'def f():\n    """Do.\n\n    So.\n    """\n{LONG}'),
        ("distributed/x.py", ""),
        ("distributed/x.py", HEAD + "def _hidden(): ...\nclass _Hidden:\n    def f(self): ...\n"),
        ("distributed/x.py", HEAD + "def f():\n    'Do.'\n    def inner(): ...\n"),
        ("distributed/x.py", HEAD + "@overload\ndef f(): ...\n@x.setter\ndef y(): ...\n"),
        ("distributed/__init__.py", HEAD + f"__all__ = {[str(i) for i in range(30)]}\n"),
        ("jobscripts/__init__.py", HEAD),
        ("tests/x.py", "def f(): ...\n"),
        ("benchmarks/.venv/x.py", "#\n" * 600),
    ],
)
def test_what_is_within_the_budgets(tmp_path, name, text):
    assert plant(tmp_path, name, text) == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("tests/unit/x.py", "#\n" * 501, "tests/unit/x.py: 501 lines, at most 500"),
        ("jobscripts/x.sh.j2", "#\n" * 501, "jobscripts/x.sh.j2: 501 lines, at most 500"),
        ("check", "#\n" * 501, "check: 501 lines, at most 500"),
        ("tests/x.py", f"class A:\n  async def f():\n{LONG}    pass\n", ":2: f has 51 lines"),
        ("launchers/x.py", "import os\n", "launchers/x.py:1: the module has no docstring"),
        ("launchers/x.py", HEAD + "class A: ...\n", "launchers/x.py:3: A has no docstring"),
        (
            "launchers/x.py",
            HEAD + "class A:\n  'a'\n  @property\n  def b(self): ...\n",
            ":6: A.b has no",
        ),
        (
            "distributed/__init__.py",
            HEAD + f"__all__ = {[str(i) for i in range(31)]}\n",
            "31 public names, at most 30",
        ),
        ("distributed/__init__.py", HEAD + "import x\n", "has no __all__"),
    ],
)
def test_what_breaks_a_budget_is_found(tmp_path, name, text, expected):
    (found,) = plant(tmp_path, name, text)
    assert expected in found
