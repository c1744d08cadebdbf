"""Count lines, functions and classes of every Python file in a folder: one task per file, on any runner.

    python examples/stdlib_census.py                              # threads
    ANYRUNNER=dask python examples/stdlib_census.py               # a Dask cluster on this machine
    anyrunner compare examples/stdlib_census.py:census -p most=300 --on thread,process,dask,ray

Without a folder it reads this Python's own standard library. CPython ships some files that truly do not parse, as tests
of its own tools; they come out as one `TaskRunsFailed` that names each of them by its `SyntaxError`.
"""

from __future__ import annotations

import ast
import sysconfig
import tokenize
from collections import Counter
from pathlib import Path

from prefect import flow, task

from prefect_anyrunner import AnyTaskRunner, gather

Counts = dict[str, int]


def parse(text: str, file: str) -> ast.Module:
    """Return the syntax tree of `text`. Raises SyntaxError if it does not parse."""
    for _ in range(100):
        try:
            return ast.parse(text, filename=file)
        except SystemError:  # CPython before 3.13 keeps one depth for all threads that parse (python/cpython#106905)
            continue
    return ast.parse(text, filename=file)


@task
def count(folder: str, file: str) -> Counts:
    """Return how many lines, functions and classes `file` has. Raises SyntaxError if it does not parse."""
    try:
        with tokenize.open(Path(folder, file)) as lines:  # reads the file in the encoding it declares
            text = lines.read()
    except (SyntaxError, UnicodeDecodeError) as error:  # not in its encoding
        raise SyntaxError(str(error), (file, None, None, None)) from error
    try:
        tree = parse(text, file)
    except ValueError as error:  # null bytes
        raise SyntaxError(str(error), (file, None, None, None)) from error
    kinds = Counter(type(node) for node in ast.walk(tree))
    return {
        "lines": text.count("\n"),
        "functions": kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef],
        "classes": kinds[ast.ClassDef],
    }


def python_files(folder: str) -> list[str]:
    """Return the Python files under `folder`, relative to it and sorted; installed packages are left out."""
    root = Path(folder)
    if not root.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    return sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*.py") if "site-packages" not in path.parts[:-1]
    )


@flow(task_runner=AnyTaskRunner())
def census(folder: str | None = None, most: int | None = None) -> dict[str, Counts]:
    """Return lines, functions and classes of each top-level package under `folder`, from its first `most` files."""
    folder = folder or sysconfig.get_paths()["stdlib"]
    files = python_files(folder)[:most]
    packages: dict[str, Counter[str]] = {}
    for file, counts in zip(files, gather([count.submit(folder, file) for file in files]), strict=True):
        package = file.partition("/")[0].removesuffix(".py")
        packages.setdefault(package, Counter()).update(counts)
    return {package: dict(counts) for package, counts in packages.items()}


if __name__ == "__main__":
    for package, counts in census().items():
        print(f"{package:24}", *(f"{number:8} {what}" for what, number in counts.items()))
