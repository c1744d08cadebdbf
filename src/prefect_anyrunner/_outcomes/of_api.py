"""Outcomes of runs that only the API knows."""

from __future__ import annotations

import re
from uuid import UUID

from prefect.client.schemas.objects import TaskRun, TaskRunResult

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.states import error_of_message, status_of, upstream_in


def task_name(run: TaskRun) -> str:
    """Return the name of the task that `run` is a run of."""
    # Prefect names a run after its task and the first characters of its key, unless the user names it.
    end = f"-{run.dynamic_key[:3]}"
    return run.name.removesuffix(end) if run.name.endswith(end) else re.sub(r"-[0-9a-f]{8,}$", "", run.task_key)


def upstream_of(run: TaskRun) -> list[UUID]:
    """Return the ids of the runs that `run` took arguments from or waited for."""
    return [
        source.id
        for name, sources in run.task_inputs.items()
        if name != "__parents__"
        for source in sources
        if isinstance(source, TaskRunResult)
    ]


def outcome_of(run: TaskRun) -> Outcome:
    """Return the outcome of a run that only the API knows: the text of its state, but neither value nor exception."""
    state = run.state
    status = status_of(state)
    return Outcome(
        task_name=task_name(run),
        task_run_id=run.id,
        task_run_name=run.name,
        status=status,
        state=state,
        error=error_of_message(state),
        upstream=upstream_in(state.message or "") if status is Status.BLOCKED and state is not None else (),
        attempts=max(run.run_count, 1),
        started=run.start_time,
        ended=run.end_time,
    )
