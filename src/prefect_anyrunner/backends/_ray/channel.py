"""Runs on their way to Ray, and their results on the way back."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import ray

from prefect_anyrunner._base.errors import VersionSkew
from prefect_anyrunner._base.versions import OURS, running
from prefect_anyrunner._driver.batching import Sent
from prefect_anyrunner._driver.run import Phase, Run

_WORD = "word."


class RayBatch:
    """The runs that one Ray task carries."""

    def __init__(self, sent: list[Sent], claims: str, word: str) -> None:
        self.runs = {parcel.claim: run for run, parcel in sent}
        self.claims = claims  # what they begin with, those of a group like no other's
        self.word = word
        self.reference: Any = None  # Ray's
        self.alone = len(sent) == 1  # one at most is still to end: to interrupt the Ray task hits no other
        self.interrupted: set[UUID] = set()  # those to be interrupted as soon as they are alone

    def left(self) -> dict[str, Run]:
        """Return the runs that have neither ended nor been sent again, by their claims."""
        return {claim: run for claim, run in self.runs.items() if self.has(run)}

    def has(self, run: Run) -> bool:
        """Tell whether what becomes of `run` is still to be heard from this Ray task."""
        parcel = run.parcel
        return parcel is not None and run.phase is not Phase.ENDED and self.runs.get(parcel.claim) is run


def _stop(carried: RayBatch) -> None:
    # What the body has submitted is stopped by its own runner, which tells of it: to Ray's word it would be crashed.
    ray.cancel(carried.reference, force=False, recursive=False)


def _lacking(exc: BaseException) -> VersionSkew | None:
    """Return the error of a worker without this package or Prefect, which Ray tells as text, or None."""
    found = re.search(r"No module named '(\w+)", str(exc))
    if found is None or found[1] not in OURS:
        return None
    name = found[1].replace("_", "-")
    return VersionSkew("A Ray worker", [(name, None, running()[name])])


def _death(exc: BaseException | None) -> str:
    if isinstance(exc, ray.exceptions.OutOfMemoryError):
        return "its Ray worker was killed because memory ran out"
    if isinstance(exc, ray.exceptions.NodeDiedError):
        return "its Ray node died while it ran"
    if isinstance(exc, ray.exceptions.WorkerCrashedError):
        return "its Ray worker died while it ran"
    if isinstance(exc, ray.exceptions.ObjectLostError):
        return "its result was lost with the node that held it"
    return "its Ray worker told nothing of it" if exc is None else f"Ray could not run it: {type(exc).__name__}"
