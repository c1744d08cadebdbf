"""What a worker answers before it gets work. It is sent there as text, so that nothing need be installed there.

It imports the standard library alone and runs on any Python that workers may have. `_driver/preflight.py` sends it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import socket
import sys
import urllib.request
from typing import Any

PATIENCE = 3.0
"""Seconds that the Prefect API gets to take a connection."""


def probe(distributions: tuple[str, ...], api: tuple[str, int] | None, modules: tuple[str, ...]) -> dict[str, Any]:
    """Return what is installed here, why the API cannot be reached from here, and which modules cannot be imported."""
    versions = {"python": platform.python_version()}
    for name in distributions:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "api": unreachable(api), "missing": [name for name in modules if missing(name)]}


def unreachable(api: tuple[str, int] | None) -> str | None:
    """Return why nothing answers at host and port, or None; behind a proxy this cannot be known, so it is not tried."""
    if api is None or urllib.request.getproxies():
        return None
    try:
        socket.create_connection(api, PATIENCE).close()
    except OSError as exc:
        return str(exc) or type(exc).__name__
    return None


def missing(name: str) -> bool:
    """Return whether a top-level module cannot be imported here."""
    try:
        return name not in sys.modules and importlib.util.find_spec(name) is None
    except (ImportError, ValueError):
        return True
