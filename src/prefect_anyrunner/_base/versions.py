"""The versions on both sides of an engine: read without importing anything, and compared."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from functools import cache

from prefect_anyrunner._base.errors import VersionSkew

OURS = ("prefect_anyrunner", "prefect")
"""Modules whose version matters on every engine."""


def versions(modules: Iterable[str]) -> dict[str, str]:
    """Return a mapping from distribution name to version, for each module with a distribution of the same name."""
    found = {}
    for module in modules:
        distribution = module.replace("_", "-")
        try:
            found[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def running(*engine: str) -> Mapping[str, str]:
    """Return the versions that matter between a flow and its workers. `engine`: modules that both need for it."""
    return {"python": platform.python_version(), **versions((*OURS, *engine))}


def refuse_skew(where: str, there: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Raise VersionSkew if the versions `there` do not match those `here`. `where` names the other side.

    Prefect and this package must have the same version, because they exchange pickles of their own objects. Python must
    have the same minor version, because bytecode travels. Dask and Ray may differ in the last number only.
    """
    differing = tuple(
        (name, there.get(name), version)
        for name, version in here.items()
        if _compared(name, there.get(name)) != _compared(name, version)
    )
    if differing:
        raise VersionSkew(where, differing)


def _compared(name: str, version: str | None) -> str | None:
    if version is None or name in ("prefect", "prefect-anyrunner"):
        return version
    return ".".join(version.split(".")[:2])
