"""Who may import whom: the table of floors as data, and the check that reads the syntax trees.

A module belongs to the first row whose pattern matches its path.  Arrows point down or stay on the
floor; a daemon never imports another daemon (its own folder is fine).  A pure module does nothing
but decide: no socket, clock, thread, process, environment, logging.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

PACKAGES = ("distributed", "launchers", "jobscripts")
FLOORS = ("words", "logic", "io", "daemons", "edges")

# (pattern of the path, floor); the first match counts, "*" also matches "/".
TABLE: tuple[tuple[str, str], ...] = (
    # words
    ("distributed/errors.py", "words"),
    ("distributed/settings.py", "words"),
    ("distributed/messages.py", "words"),
    ("distributed/payloads.py", "words"),
    ("distributed/units.py", "words"),
    ("distributed/clock.py", "words"),
    ("distributed/tables.py", "words"),
    ("distributed/version.py", "words"),
    ("distributed/nanny/orders.py", "words"),
    ("distributed/*/states.py", "words"),
    ("distributed/*/events.py", "words"),
    ("distributed/*/actions.py", "words"),
    ("launchers/errors.py", "words"),
    ("launchers/hosts.py", "words"),
    ("launchers/jobs.py", "words"),
    ("launchers/events.py", "words"),
    ("launchers/actions.py", "words"),
    # daemons, and what they export from their folders
    ("distributed/scheduler/__init__.py", "daemons"),
    ("distributed/scheduler/control.py", "daemons"),
    ("distributed/scheduler/daemon.py", "daemons"),
    ("distributed/worker/__init__.py", "daemons"),
    ("distributed/worker/daemon.py", "daemons"),
    ("distributed/worker/joining.py", "daemons"),
    ("distributed/worker/operations.py", "daemons"),
    ("distributed/nanny/__init__.py", "daemons"),
    ("distributed/nanny/daemon.py", "daemons"),
    ("distributed/client/table.py", "logic"),
    ("distributed/client/*", "daemons"),
    ("launchers/launcher.py", "daemons"),
    ("launchers/adopter.py", "daemons"),
    # logic
    ("distributed/calls.py", "logic"),
    ("distributed/operations.py", "logic"),
    ("distributed/wire/*", "logic"),
    ("distributed/scheduler/*", "logic"),
    ("distributed/worker/batch.py", "logic"),
    ("distributed/worker/fetches.py", "logic"),
    ("distributed/worker/held.py", "words"),
    ("distributed/worker/lines.py", "logic"),
    ("distributed/worker/machine*.py", "logic"),
    ("distributed/worker/resources.py", "logic"),
    ("distributed/worker/waiting.py", "logic"),
    ("distributed/nanny/machine.py", "logic"),
    ("launchers/jobscript.py", "logic"),
    ("launchers/*_words.py", "logic"),
    ("launchers/scaling.py", "logic"),
    ("launchers/slots.py", "logic"),
    ("launchers/options.py", "logic"),
    ("launchers/protocol.py", "logic"),
    ("launchers/slurm.py", "logic"),
    ("launchers/local.py", "logic"),
    ("launchers/pbs.py", "logic"),
    ("launchers/torque.py", "logic"),
    ("launchers/ssh.py", "logic"),
    ("launchers/sge.py", "logic"),
    ("launchers/sge_drmaa.py", "logic"),
    ("launchers/drmaa.py", "logic"),
    ("jobscripts/*", "logic"),
    # I/O
    ("distributed/capacity.py", "io"),
    ("distributed/cluster.py", "io"),
    ("distributed/clusterfile.py", "io"),
    ("distributed/coexistence.py", "io"),
    ("distributed/comm.py", "io"),
    ("distributed/config.py", "io"),
    ("distributed/connection.py", "io"),
    ("distributed/daemon.py", "io"),
    ("distributed/listener.py", "io"),
    ("distributed/logs.py", "io"),
    # Starts the programs of a cluster on this machine, as a launcher would: processes, no daemon.
    ("distributed/local.py", "io"),
    ("distributed/network.py", "io"),
    ("distributed/poller.py", "io"),
    ("distributed/eventloop.py", "io"),
    ("distributed/pool.py", "io"),
    ("distributed/rpc.py", "io"),
    ("distributed/sharing/*", "io"),
    ("distributed/worker/*", "io"),
    ("distributed/nanny/*", "io"),
    ("launchers/child.py", "io"),
    ("launchers/commands.py", "io"),
    ("launchers/signals.py", "io"),
    ("launchers/config.py", "io"),
    ("launchers/folder.py", "io"),
    ("launchers/head.py", "io"),
    ("launchers/leftovers.py", "io"),
    ("launchers/progress.py", "io"),
    ("launchers/names.py", "io"),
    ("launchers/registry.py", "io"),
    ("launchers/watching.py", "io"),
    # edges
    ("distributed/__init__.py", "edges"),
    ("distributed/cli/*", "edges"),
    ("launchers/__init__.py", "edges"),
    ("launchers/cli*.py", "edges"),
    ("launchers/cluster.py", "edges"),
    ("launchers/session.py", "edges"),
    ("launchers/ssh_network.py", "edges"),
    ("launchers/ssh_cluster.py", "edges"),
    ("launchers/doors.py", "edges"),
    ("launchers/spawn.py", "edges"),
    ("launchers/drmaa_call.py", "edges"),
    ("launchers/keeper.py", "io"),
    ("launchers/remote.py", "io"),
    ("launchers/testing.py", "edges"),
    ("launchers/fakes/*", "edges"),
)

# Words and logic are pure.
PURE_FLOORS = frozenset({"words", "logic"})
NOT_PURE = frozenset(
    {"asyncio", "concurrent", "getpass", "logging", "multiprocessing", "os", "random", "secrets"}
    | {"select", "selectors", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile"}
    | {"threading", "time", "tornado"}
)
# What a floor may use from outside the standard library; others may use anything.
OUTSIDE = {"words": frozenset({"msgspec"})}
# The packages themselves: what each may never import, wherever.
NEVER = {
    "distributed": frozenset({"launchers", "jobscripts"}),
    "jobscripts": frozenset({"distributed", "launchers"}),
}


@dataclass(frozen=True)
class Import:
    """``module`` is imported at ``line``; ``hidden`` if inside a function."""

    module: str
    line: int
    hidden: bool


@dataclass
class Module:
    """One source file: its dotted ``name``, its ``path`` below the root, and its syntax tree."""

    name: str
    path: str
    tree: ast.Module
    imports: list[Import] = field(default_factory=list)

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @cached_property
    def floor(self) -> str | None:
        return next((floor for pattern, floor in TABLE if fnmatchcase(self.path, pattern)), None)


def read_modules(root: Path) -> dict[str, Module]:
    """Parse every module of the three packages below ``root``."""
    modules: dict[str, Module] = {}
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            path = file.relative_to(root).as_posix()
            name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            modules[name] = Module(name, path, ast.parse(file.read_text(), path))
    for module in modules.values():
        found = _imports(module, module.tree, set(modules), hidden=False)
        module.imports = list(dict.fromkeys(found))
    return modules


def _imports(module: Module, node: ast.AST, known: set[str], hidden: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, hidden)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(module, child)
            for alias in child.names:
                whole = f"{base}.{alias.name}"
                yield Import(whole if whole in known else base, child.lineno, hidden)
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(module, child, known, hidden or inside)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    is_package = module.path.endswith("/__init__.py")
    parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def violations(root: Path) -> list[str]:
    """Everything below ``root`` that breaks the table, one line each: place and rule."""
    modules = read_modules(root)
    found = []
    for module in modules.values():
        if module.floor is None:
            found.append(f"{module.path}: unplaced module, give it a row in tests/gates/floors.py")
        for imported in module.imports:
            where = f"{module.path}:{imported.line}: imports {imported.module}"
            found += [f"{where}: {rule}" for rule in _broken_rules(module, imported, modules)]
    return found + _cycles(modules)


def _broken_rules(module: Module, imported: Import, modules: dict[str, Module]) -> Iterator[str]:
    top = imported.module.partition(".")[0]
    if top in NEVER.get(module.package, ()):
        yield f"{module.package} never imports {top}"
    if top in PACKAGES:
        if imported.hidden:
            yield "an import of our own inside a function"
        target = modules.get(imported.module)
        if target is None:
            yield "there is no such module"
        elif module.floor and target.floor:
            yield from _broken_arrow(module, target)
        return
    if module.floor in PURE_FLOORS and top in NOT_PURE:
        yield f"a pure module does not use {top}"
    allowed = OUTSIDE.get(module.floor or "")
    if allowed is not None and top not in allowed and top not in sys.stdlib_module_names:
        yield f"{module.floor} may use only the standard library and {', '.join(sorted(allowed))}"


def _broken_arrow(module: Module, target: Module) -> Iterator[str]:
    assert module.floor is not None
    assert target.floor is not None
    if FLOORS.index(target.floor) > FLOORS.index(module.floor):
        yield f"{module.floor} may not import {target.floor}"
    same_room = Path(module.path).parent == Path(target.path).parent
    if module.floor == target.floor == "daemons" and not same_room:
        yield "daemons do not import one another"


def _cycles(modules: dict[str, Module]) -> list[str]:
    graph = {
        name: {imported.module for imported in module.imports} & modules.keys() - {name}
        for name, module in modules.items()
    }
    # What is left after taking away, again and again, all that imports nothing that is left, and
    # all that nothing left imports, is exactly the cycles and what lies between two of them.
    while True:
        imported = set().union(*graph.values()) if graph else set()
        left = {name: targets for name, targets in graph.items() if targets and name in imported}
        if len(left) == len(graph):
            break
        graph = {name: targets & left.keys() for name, targets in left.items()}
    return [f"import cycle: {' <-> '.join(sorted(graph))}"] if graph else []
