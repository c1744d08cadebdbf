"""Who imports whom, read from the source: no circle, and the halves of the package meet only in the user's flow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import prefect_anyrunner

ROOT = Path(prefect_anyrunner.__file__).parent
WAITING = {
    "_settle",
    "_waiting",
    "_map",
    "_rows",
    "_report",
    "_render",
    "_policy",
    "_shape",
    "_stock",
    "_blame",
    "_api",
}
CHOOSING = {"_runner", "_spec", "_speccheck", "_specfile"}
WORKER = {
    "_worker",
    "_transport",
    "_pack",
    "_unpack",
    "_standin",
    "_pickler",
    "_anatomy",
    "_worker_engine",
    "_interrupt",
    "_task_run",
}
PUBLIC = {*prefect_anyrunner._HOMES, "backends", "conformance"}
HARNESS = {"_bench", "_child", "_conform", "_matrix", "test_conformance"}


def modules() -> dict[str, Path]:
    """Every module by its dotted name inside the package."""
    names = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


MODULES = modules()


def imported(name: str, *, at_import: bool) -> Iterator[str]:
    """What a module imports of the package; `at_import`: only what importing it imports, at once."""
    path = MODULES[name]
    package = path.relative_to(ROOT).parent.parts
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and at_import:
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else None
            words = tuple((node.module or "").split(".")) if node.module else ()
            if start is None and words[:1] == ("prefect_anyrunner",):
                start, words = (), words[1:]
            if start is not None:
                base = ".".join((*start, *words))
                for alias in node.names:
                    full = f"{base}.{alias.name}".strip(".")
                    yield full if full in MODULES else base or alias.name


def reached(names: set[str]) -> set[str]:
    """What some modules need in the end, themselves left out: also what they import only when it is used."""
    seen: set[str] = set()
    todo = list(names)
    while todo:
        for other in imported(todo.pop(), at_import=False):
            if other in MODULES and other not in seen and other != "":
                seen.add(other)
                todo.append(other)
    return seen - names


def test_no_circle() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"circle: {' -> '.join((*path[path.index(name) :], name))}"
        if name not in done:
            for other in imported(name, at_import=True):
                if other in MODULES and other != name and not name.startswith(f"{other}."):
                    visit(other, (*path, name))
            done.add(name)

    for name in MODULES:
        if name:  # the package itself only names what is public
            visit(name, ())


def test_backends_know_nothing_of_waiting_and_choosing() -> None:
    backends = {name for name in MODULES if name.startswith("backends")}
    assert not reached(backends) & (WAITING | CHOOSING)


def test_waiting_knows_no_backend() -> None:
    assert not [name for name in reached(WAITING) if name.startswith("backends")]


def test_workers_import_neither_reports_nor_backends() -> None:
    assert not reached(WORKER) & (WAITING | CHOOSING)
    assert not [name for name in reached(WORKER) if name.startswith("backends")]


def test_conformance_cases_use_public_names_only() -> None:
    for name in MODULES:
        if name.startswith("conformance.") and name.partition(".")[2] not in HARNESS:
            used = {other for other in imported(name, at_import=False) if not other.startswith("conformance")}
            assert used <= PUBLIC, f"{name} uses {sorted(used - PUBLIC)}"
