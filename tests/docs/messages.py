"""The messages in the source: texts of errors that are raised and of lines that are logged, with `…` for each value."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "prefect_anyrunner"
GAP = "…"
_LOGS = {"info", "warning", "error", "exception"}
_PLACEHOLDER = re.compile(r"%[\d.]*[a-z]|%r")


def all_texts() -> set[str]:
    """Return every text in the source, docstrings included."""
    return {text for _, tree in _modules() for node in ast.walk(tree) if (text := _text(node)) is not None}


def raised_or_logged() -> set[str]:
    """Return the texts of three words and more that the package raises as an error or logs; conformance is left out."""
    return {
        text
        for path, tree in _modules()
        if path.parts[0] != "conformance"
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and _logs(node))
        for part in _outermost_texts(node)
        if (text := _text(part)) is not None and len(text.replace(GAP, " ").split()) >= 3
    }


def matches(documented: str, text: str) -> bool:
    """Return whether the parts of a documented message, between the gaps, stand in `text` in their order."""
    parts = [part.strip() for part in documented.split(GAP) if part.strip()]
    return re.search(".*".join(map(re.escape, parts)), text, re.DOTALL) is not None


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE), ast.parse(path.read_text())


def _logs(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in _LOGS and "logger" in ast.unparse(call.func.value)


def _outermost_texts(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if _text(child) is not None:
            yield child
        else:
            yield from _outermost_texts(child)


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _PLACEHOLDER.sub(GAP, node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values]
        return "".join(parts)
    return None
