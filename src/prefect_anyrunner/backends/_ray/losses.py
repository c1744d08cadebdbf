"""The reasons for a lost run, read from Ray's exceptions."""

from __future__ import annotations

import re

import ray

from prefect_anyrunner._base.errors import VersionSkew
from prefect_anyrunner._base.versions import OURS, running


def missing_package(exc: BaseException) -> VersionSkew | None:
    """Return the error of a worker without this package or Prefect, which Ray reports as text, or None."""
    found = re.search(r"No module named '(\w+)", str(exc))
    if found is None or found[1] not in OURS:
        return None
    name = found[1].replace("_", "-")
    return VersionSkew("A Ray worker", [(name, None, running()[name])])


def how_lost(exc: BaseException | None) -> str:
    """Return why a run was lost, to continue the sentence "Task run 'x' crashed: ..."."""
    if isinstance(exc, ray.exceptions.OutOfMemoryError):
        return "its Ray worker was killed because memory ran out"
    if isinstance(exc, ray.exceptions.NodeDiedError):
        return "its Ray node died while it ran"
    if isinstance(exc, ray.exceptions.WorkerCrashedError):
        return "its Ray worker died while it ran"
    if isinstance(exc, ray.exceptions.ObjectLostError):
        return "its result was lost with the node that held it"
    return "its Ray worker reported nothing" if exc is None else f"Ray could not run it: {type(exc).__name__}"
