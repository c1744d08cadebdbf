"""Versions of what runs tasks, read without importing any of it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable


def versions(modules: Iterable[str]) -> dict[str, str]:
    """Return distribution name to version for each module whose distribution is installed under the same name."""
    found = {}
    for module in modules:
        distribution = module.replace("_", "-")
        try:
            found[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
