"""A Dask cluster: how to start one and how to say that one cannot be reached."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import dask.config

_LOST_WORKER = "distributed.deploy.lost-worker-timeout"


def patience() -> AbstractContextManager[Any]:
    """Return what to hold while a local cluster is up, so that a worker that died comes back each time."""
    # A cluster gives up for good whom it does not see 15 s after a death, though it may just be back from another one.
    if dask.config.get(_LOST_WORKER) != "15s":
        return nullcontext()  # not Dask's default: somebody has chosen it
    return dask.config.set({_LOST_WORKER: "1 day"})


def _unreached(address: str, seconds: float, exc: BaseException) -> str:
    """Return what to say of a scheduler that cannot be reached; why, Dask tells in the first of the causes."""
    timed_out = isinstance(exc, TimeoutError) or "Timed out" in str(exc)
    first = exc
    while first.__cause__ is not None:
        first = first.__cause__
    why = str(first).strip().partition("\n")[0]
    text = f"No Dask scheduler answered at {address}" + (f" within {seconds:g} seconds" if timed_out else "")
    return f"{text}: {why}" if why and not (first is exc and timed_out) else f"{text}."
