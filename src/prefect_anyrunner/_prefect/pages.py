"""Addresses of the pages on which Prefect shows a run."""

from __future__ import annotations

from uuid import UUID

from prefect.utilities.urls import url_for

_ANY = UUID(int=0)


def task_run_pages() -> str | None:
    """Return the part of the address of a task run's page before the id; None if no UI is known.

    Call it once for many runs, because Prefect takes 0.2 ms to build one address.
    """
    address = url_for("task-run", obj_id=_ANY)
    return address.removesuffix(str(_ANY)) if address else None


def flow_run_page(flow_run_id: UUID) -> str | None:
    """Return the address of a flow run's page; None if no UI is known."""
    return url_for("flow-run", obj_id=flow_run_id) or None
