"""What the Prefect API says of a flow run and its task runs."""

from __future__ import annotations

import time
from collections import Counter
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

WITHIN = 60.0
"""Seconds that the server gets to take in events that it has."""


def flow_run_state(flow_run_id: UUID) -> str:
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(flow_run_id)
    assert flow_run.state is not None
    return str(flow_run.state.name)


def check_task_runs(flow_run_id: UUID, **expected: int) -> None:
    """Check how many task runs are in which state, by its name, once the server has taken in what it was sent."""
    until = time.monotonic() + WITHIN
    while (found := task_run_states(flow_run_id)) != expected and time.monotonic() < until:
        time.sleep(0.2)
    assert found == expected


def task_run_states(flow_run_id: UUID) -> Counter[str]:
    with get_client(sync_client=True) as client:
        found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
    return Counter(str(run.state and run.state.name) for run in found)
