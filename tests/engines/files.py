"""Waiting for a file, by which a body says how far it is."""

from __future__ import annotations

import time
from pathlib import Path


def until_there(path: Path) -> None:
    """Return once `path` exists; the time limit of the test ends the wait."""
    while not path.exists():
        time.sleep(0.01)
