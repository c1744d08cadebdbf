"""Sends the ends that a file keeps of a flow run that could not wait for the API."""

from __future__ import annotations

import contextvars
from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from prefect_anyrunner._publishing.change import Change
from prefect_anyrunner._publishing.options import EventOptions
from prefect_anyrunner._publishing.publisher import publisher
from prefect_anyrunner._publishing.source import Source


def send_changes(changes: Sequence[Change], patience: float) -> int:
    """Send the ends of runs again and wait until the API has recorded them; return how many it has not.

    `patience`: seconds to keep waiting while the API records nothing. Raises `httpx.HTTPError` if the API does not
    answer, and `prefect.exceptions.ObjectNotFound` if it does not know one of the flow runs.
    """
    of_flow_run: dict[UUID | None, list[Change]] = defaultdict(list)
    for change in changes:
        of_flow_run[change.task_run.flow_run_id].append(change)
    left = 0
    for flow_run_id, some in of_flow_run.items():
        source = Source(EventOptions())
        source.context = _context_of(flow_run_id)
        for change in some:
            publisher().put(source, change)
        left += publisher().wait(source, patience, on_wait=lambda: None)
    return left


def _context_of(flow_run_id: UUID | None) -> contextvars.Context:
    """Return a context in which events belong to a flow run, as they did when it ran."""
    if flow_run_id is None:
        return contextvars.copy_context()
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(flow_run_id)
    with FlowRunContext.model_construct(flow_run=flow_run):
        return contextvars.copy_context()
