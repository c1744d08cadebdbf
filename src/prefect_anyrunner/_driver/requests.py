"""From a submitted run to the request that travels to a worker."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State, TaskRunResult
from prefect.context import (
    AssetContext,
    FlowRunContext,
    SettingsContext,
    serialize_context,
)
from prefect.settings import PREFECT_API_URL
from prefect.tasks import MaterializingTask

from prefect_anyrunner._base.errors import CannotTravel
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._prefect.states import data_of
from prefect_anyrunner._serialization.values import dumps

LARGE = 2**20
"""Bytes from which an argument is put away by itself, to reach each worker once however many tasks share it."""


def _assets(run: Run) -> dict[str, Any] | None:
    flow = FlowRunContext.get()
    task = run.task
    tracked = flow.task_run_assets if flow is not None else {}
    inputs = run.task_run.task_inputs
    linked = any(
        isinstance(each, TaskRunResult) and each.id in tracked
        for name, some in inputs.items()
        if name != "__parents__"
        for each in some
    )
    if not (linked or task.asset_deps or isinstance(task, MaterializingTask)):
        return None
    return AssetContext.from_task_and_inputs(
        task=task,
        task_run_id=run.task_run.id,
        task_inputs=inputs,  # type: ignore[arg-type]
        copy_to_child_ctx=True,
    ).serialize()


def _serialize_context(flow: FlowRunContext | None, settings: SettingsContext | None) -> dict[str, Any]:
    serialized = serialize_context()
    # What changes per submit travels with each parcel.
    serialized.update(task_run_context={}, tags_context={}, asset_context={})
    if flow is not None:
        serialized["flow_run_context"] = _without_unpicklable(serialized["flow_run_context"], "parameters")
        if settings is not None and settings.settings.api.url is None:
            # Prefect started a server for this process alone: workers must talk to that one, not each start its own.
            there = settings.settings.copy_with_update(updates={PREFECT_API_URL: str(flow.client.api_url)})
            serialized["settings_context"] = SettingsContext(profile=settings.profile, settings=there).serialize()
    return serialized


def _without_unpicklable(serialized: dict[str, Any], field: str) -> dict[str, Any]:
    """Return `serialized` with what cannot travel left out of the mapping `field`: no task asked for it by name."""
    kept = {}
    for name, value in (serialized.get(field) or {}).items():
        try:
            dumps(value, what=name)
        except CannotTravel:
            continue
        kept[name] = value
    return {**serialized, field: kept}


def size_hint(value: Any) -> int:
    """Return about how many bytes `value` holds, as far as that can be had for nothing; 0 if not."""
    if isinstance(value, State):  # of an upstream run, with its result
        value = data_of(value)
    if isinstance(value, bytes | bytearray | str):
        return len(value)
    try:
        size = getattr(value, "nbytes", 0)
    except Exception:  # a property of the user's object: that of a Dask dataframe raises NotImplementedError
        return 0
    return size if isinstance(size, int) else 0
