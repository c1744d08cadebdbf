"""What the flow's process reports to the Prefect API about its runs."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.utilities.engine import emit_task_run_state_change_event

from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._prefect.private import ResultRecord, ResultRecordMetadata
from prefect_anyrunner._prefect.states import put_state, with_data


def publish_submitted(task_run: TaskRun) -> None:
    """Report that a run was submitted: it then exists in the API, as Pending."""
    assert task_run.state is not None
    emit_task_run_state_change_event(task_run=task_run, initial_state=None, validated_state=task_run.state)


def publish_end(run: Run, state: State[Any], metadata: ResultRecordMetadata | None) -> None:
    """Make `state` the final state of `run` and report it, in the context that the run was submitted in."""
    before = run.task_run.state
    put_state(run.task_run, state)
    run.context.copy().run(_emit, run, before, state, metadata)


def publish_again(task_run: TaskRun, context: contextvars.Context, state: State[Any]) -> None:
    """Report another final state for a run that had completed, because nobody can have its result."""
    before = task_run.state
    put_state(task_run, state)
    context.copy().run(emit_task_run_state_change_event, task_run=task_run, initial_state=before, validated_state=state)


def _emit(run: Run, before: State[Any] | None, state: State[Any], metadata: ResultRecordMetadata | None) -> None:
    with _persisting(run, metadata):
        if metadata is not None:
            state = with_data(state, ResultRecord(metadata=metadata, result=None))
        emit_task_run_state_change_event(task_run=run.task_run, initial_state=before, validated_state=state)


@contextmanager
def _persisting(run: Run, metadata: ResultRecordMetadata | None) -> Iterator[None]:
    flow = FlowRunContext.get()
    if metadata is None or flow is None:
        yield
        return
    # Prefect puts the place of a stored result into the event only inside a task run that persists its result.
    with TaskRunContext(
        task=run.task,
        task_run=run.task_run,
        parameters={},
        result_store=flow.result_store,
        client=flow.client,
        persist_result=True,
    ):
        yield
