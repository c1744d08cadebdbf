"""Bulk queries about task runs to the Prefect API."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterId,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType, TaskRun
from prefect.client.schemas.sorting import TaskRunSort
from prefect.context import EngineContext, TaskRunContext
from prefect.logging import get_logger
from prefect.settings import PREFECT_API_URL

logger = get_logger("anyrunner")


PAGE = 200
"""Task runs per request: the limit of the server."""
LATE = 1.5
"""Seconds to wait until a run that has ended is in the API, because events take some time to arrive."""
_OPEN = [StateType.PENDING, StateType.RUNNING, StateType.SCHEDULED]


def own_client() -> SyncPrefectClient:
    """Return a new client, with the current settings, to be used in a `with` block.

    Within a flow run, Prefect would return the client of the flow run, which is closed with it.
    """
    return get_client(sync_client=True, httpx_settings={})


def by_id(client: SyncPrefectClient, ids: Sequence[UUID]) -> Iterator[TaskRun]:
    """Yield those task runs of `ids` that are in the API. Raises `httpx.HTTPError`."""
    for start in range(0, len(ids), PAGE):
        page = TaskRunFilter(id=TaskRunFilterId(any_=list(ids[start : start + PAGE])))
        yield from client.read_task_runs(task_run_filter=page, sort=TaskRunSort.ID_DESC, limit=PAGE)


def of_flow_run(
    client: SyncPrefectClient, flow_run_id: UUID, state: TaskRunFilterState | None = None
) -> Iterator[TaskRun]:
    """Yield the task runs of a flow run, or those in some states. Raises `httpx.HTTPError`."""
    offset = 0
    while True:
        page = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])),
            task_run_filter=TaskRunFilter(state=state),
            limit=PAGE,
            offset=offset,
        )
        yield from page
        offset += len(page)
        if len(page) < PAGE:
            return


def reachable() -> bool:
    """Return whether an API is configured: without one, Prefect would start a server of its own for a query."""
    return bool(PREFECT_API_URL.value()) or EngineContext.get() is not None or TaskRunContext.get() is not None


def task_runs(ids: Iterable[UUID], *, expected: Iterable[UUID] = (), ended: Iterable[UUID] = ()) -> dict[UUID, TaskRun]:
    """Return those task runs of `ids` that are in the API, by id; none if it cannot be queried.

    Args:
        ids: the task runs to ask for.
        expected: those of them that must appear because Prefect's task engine ran them.
        ended: those of them that should have a final state there. For these and the expected ones the API is
            queried again, for up to `LATE` seconds.
    """
    wanted = list(ids)
    if not wanted or not reachable():
        return {}
    found: dict[UUID, TaskRun] = {}
    awaited, final = set(expected), set(ended)
    until = time.monotonic() + LATE
    pause = 0.1
    try:
        with get_client(sync_client=True) as client:
            while True:
                found.update((run.id, run) for run in by_id(client, wanted))
                wanted = [run_id for run_id in awaited if run_id not in found]
                wanted += [run_id for run_id in final if not _is_final(found.get(run_id))]
                if not wanted or time.monotonic() > until:
                    return found
                time.sleep(pause)
                pause *= 2
    except httpx.HTTPError as problem:  # a report without names and roots is poorer, but still true
        logger.warning("Could not query the Prefect API for the names of task runs: %s", problem)
        return found


def _is_final(run: TaskRun | None) -> bool:
    return run is not None and run.state is not None and run.state.is_final()


def open_runs(flow_run_id: UUID) -> list[TaskRun]:
    """Return the task runs of a flow run that have no final state in the API. Raises `httpx.HTTPError`."""
    with get_client(sync_client=True) as client:
        return list(of_flow_run(client, flow_run_id, TaskRunFilterState(type=TaskRunFilterStateType(any_=_OPEN))))
