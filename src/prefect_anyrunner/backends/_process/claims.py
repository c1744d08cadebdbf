"""Claims as files: the first process to create the file may run the body."""

from __future__ import annotations

from pathlib import Path


def _make(path: Path, text: str) -> bool:
    try:
        with open(path, "x") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
