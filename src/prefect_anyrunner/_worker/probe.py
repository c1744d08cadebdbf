"""The questions that a worker answers before it gets work.

`_driver/preflight.py` sends this module as text, so that nothing need be installed on the worker. It imports only the
standard library and runs on any Python that workers may have.
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
"""Seconds that the Prefect API gets to accept a connection."""


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
    """Return why nothing answers at host and port, or None; also None behind a proxy, where this cannot be known."""
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
