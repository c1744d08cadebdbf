"""Versions of what runs tasks, read without importing any of it, and which of them must be the same on both sides."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from functools import cache

from prefect_anyrunner._base.errors import VersionSkew

OURS = ("prefect_anyrunner", "prefect")


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


@cache
def running(*engine: str) -> Mapping[str, str]:
    """Return the versions that matter between a driver and its workers; `engine`: modules that both need besides."""
    return {"python": platform.python_version(), **versions((*OURS, *engine))}


def refuse_skew(where: str, there: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Raise VersionSkew if `there` is not what `here` can work with; `where` names the other side.

    Prefect and this package must be the same: what they exchange is pickled, and not meant for another release. Of
    Python the minor version counts (bytecode travels), of Dask and Ray the release, without its last number.
    """
    differing = tuple(
        (name, there.get(name), version)
        for name, version in here.items()
        if _what_counts(name, there.get(name)) != _what_counts(name, version)
    )
    if differing:
        raise VersionSkew(where, differing)


def _what_counts(name: str, version: str | None) -> str | None:
    if version is None or name in ("prefect", "prefect-anyrunner"):
        return version
    return ".".join(version.split(".")[:2])
