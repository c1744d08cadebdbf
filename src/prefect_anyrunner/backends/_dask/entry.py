"""The functions that Dask workers call. The Dask scheduler loads this module too, so it imports nothing at the top."""

from __future__ import annotations

from typing import Any


def run_on_worker(work: tuple[Any, ...]) -> bytes | None:
    """Run parcels; here, because the scheduler loads what tasks call, and need not import Prefect for that."""
    from prefect_anyrunner.backends._dask.worker import run_here

    return run_here(work)


def import_worker() -> None:
    """Import Prefect and this package, while the flow still submits: the first task run then starts at once."""
    import prefect_anyrunner.backends._dask.worker  # noqa: F401
