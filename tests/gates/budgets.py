"""How large files and functions may grow, and what must be described: budgets and their check."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

FILE_LINES = 500
FUNCTION_LINES = 50
MEDIAN_FUNCTION_LINES = 7
ROOT_NAMES = 30

PACKAGES = ("distributed", "launchers", "jobscripts")
"""Held to every budget; the other folders to the sizes only."""
OTHERS = ("tests", "examples", "benchmarks")
PROGRAMS = ("check", "run", ".ci/run")

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


def violations(root: Path) -> list[str]:
    """Everything below ``root`` that breaks a budget, one line each."""
    found: list[str] = []
    for path in _sized_files(root):
        name = path.relative_to(root).as_posix()
        text = path.read_text()
        if (lines := len(text.splitlines())) > FILE_LINES:
            found.append(f"{name}: {lines} lines, at most {FILE_LINES}")
        if path.suffix == ".py":
            tree = ast.parse(text, name)
            found += [f"{name}{line}" for line in _long_functions(tree)]
            if name.partition("/")[0] in PACKAGES:
                found += [f"{name}{line}" for line in _undescribed(tree)]
    return found + [line for package in PACKAGES for line in _root_names(root, package)]


def _sized_files(root: Path) -> Iterator[Path]:
    for folder in (*PACKAGES, *OTHERS):
        for suffix in ("*.py", "*.sh", "*.j2"):
            for path in sorted((root / folder).rglob(suffix)):
                # A benchmark keeps virtual environments of its own in hidden folders.
                if not any(part.startswith(".") for part in path.relative_to(root).parts):
                    yield path
    yield from (root / name for name in PROGRAMS if (root / name).exists())


def function_lines(node: Function) -> int:
    """Lines from ``def`` to the end, without the docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is not None:
        lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
    return lines


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function below ``tree``, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def median_function_lines(root: Path) -> float:
    """The median length of the functions of the packages, in lines without docstring."""
    lengths = sorted(
        function_lines(node)
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
        for node in functions(ast.parse(path.read_text()))
    )
    return lengths[len(lengths) // 2] if lengths else 0


def _long_functions(tree: ast.Module) -> Iterator[str]:
    for node in functions(tree):
        if (lines := function_lines(node)) > FUNCTION_LINES:
            yield f":{node.lineno}: {node.name} has {lines} lines, at most {FUNCTION_LINES}"


def _undescribed(tree: ast.Module) -> Iterator[str]:
    if tree.body and ast.get_docstring(tree) is None:
        yield ":1: the module has no docstring"
    yield from _undescribed_in(tree, "")


def _undescribed_in(parent: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    for node in parent.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None and not _described_elsewhere(node):
            yield f":{node.lineno}: {prefix}{node.name} has no docstring"
        if isinstance(node, ast.ClassDef):
            yield from _undescribed_in(node, f"{prefix}{node.name}.")


def _described_elsewhere(node: Function | ast.ClassDef) -> bool:
    """A setter belongs to its property, an overload to the function that it is one face of."""
    names = {getattr(item, "attr", getattr(item, "id", "")) for item in node.decorator_list}
    return bool(names & {"setter", "deleter", "overload"})


def _root_names(root: Path, package: str) -> Iterator[str]:
    path = root / package / "__init__.py"
    if not path.exists():
        return
    body = ast.parse(path.read_text()).body
    for node in body:
        targets = [getattr(target, "id", "") for target in getattr(node, "targets", [])]
        if "__all__" in targets and isinstance(node, ast.Assign):
            names = ast.literal_eval(node.value)
            if len(names) > ROOT_NAMES:
                yield f"{package}/__init__.py: {len(names)} public names, at most {ROOT_NAMES}"
            return
    if len(body) > 1:  # more than its docstring
        yield f"{package}/__init__.py: has no __all__"
