"""The flow run around the calling code, and the spec of its runner."""

from __future__ import annotations

from prefect.context import FlowRunContext, TaskRunContext

SPEC_ATTRIBUTE = "_anyrunner_spec"
"""Attribute of a flow run's task runner that holds the spec it was built from, if there was one."""


def current_flow_run() -> FlowRunContext | None:
    """Return the context of the flow run whose own code is calling; None in a task and outside of flow runs."""
    context, of_task = FlowRunContext.get(), TaskRunContext.get()
    if context is None or context.flow_run is None:
        return None
    if of_task is not None and of_task.task_run.flow_run_id == context.flow_run.id:
        return None
    return context
