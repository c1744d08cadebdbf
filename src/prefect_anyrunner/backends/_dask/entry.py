"""The functions that Dask workers call. The Dask scheduler loads this module too, so it imports nothing at the top."""

from __future__ import annotations

from typing import Any


def run_on_worker(work: tuple[Any, ...]) -> bytes | None:
    """Run the requests of one Dask task; see `worker.run_batch`, which needs Prefect."""
    from prefect_anyrunner.backends._dask.worker import run_batch

    return run_batch(work)


def interrupt_on_worker(claims: list[str]) -> None:
    """Ask running bodies of this worker to stop."""
    from prefect_anyrunner._worker.interrupt import interrupt

    for claim in claims:
        interrupt(claim)


def import_worker() -> None:
    """Import Prefect and this package, while the flow is still submitting, so that the first run starts at once."""
    import prefect_anyrunner.backends._dask.worker  # noqa: F401
