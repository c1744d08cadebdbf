"""Runs whose submitter is gone: a task whose worker died can no longer report how the runs that it submitted ended."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any
from uuid import UUID

import httpx
from prefect.client.schemas.objects import State, TaskRun, TaskRunResult
from prefect.states import Cancelled, Crashed

from prefect_anyrunner._prefect.api import open_runs
from prefect_anyrunner._publishing.change import Change
from prefect_anyrunner._publishing.runner_events import RunnerEvents

LATE = 3.0
"""Seconds for the events of a dead worker to reach the API, before the last search for its runs."""


def end_orphans(lost: Collection[TaskRun], events: RunnerEvents) -> list[UUID]:
    """Report as crashed the open runs that the task runs `lost` had submitted, and the children of these (rule S1).

    The children of cancelled runs are reported as cancelled. Returns the ids of the runs that were still open. `lost`
    are runs of one flow run whose workers died, or were ended because the run was cancelled. Raises `httpx.HTTPError`
    if the last question to the API failed.
    """
    flow_run_id = next(run.flow_run_id for run in lost)
    if flow_run_id is None:
        return []
    own = {run.id for run in lost}
    gone = {run.id: run.state is not None and run.state.is_cancelled() for run in lost}
    reported: list[UUID] = []
    until = time.monotonic() + LATE
    while True:
        try:
            found = open_runs(flow_run_id)
        except httpx.HTTPError:
            if time.monotonic() >= until:
                raise
            found = []  # the API is asked again
        new = True
        while new:  # children come in any order, grandchildren before them
            new = False
            for run in found:
                if run.id not in gone and (parents := _parents(run) & gone.keys()):
                    gone[run.id] = any(gone[each] for each in parents)
                    new = True
        for run in found:
            if run.id in gone.keys() - own - set(reported) and run.state is not None:
                reported.append(run.id)
                state: State[Any] = (
                    Cancelled(message="The task run that submitted it was cancelled.")
                    if gone[run.id]
                    else Crashed(message="The task run that submitted it crashed: its worker died.")
                )
                state.state_details.task_run_id, state.state_details.flow_run_id = run.id, flow_run_id
                events.changed(Change(run, run.state, state))
        if time.monotonic() >= until:
            return reported
        time.sleep(LATE / 4)


def _parents(run: TaskRun) -> set[UUID]:
    return {each.id for each in run.task_inputs.get("__parents__", []) if isinstance(each, TaskRunResult)}
