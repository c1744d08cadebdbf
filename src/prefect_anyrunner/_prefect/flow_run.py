"""The flow run around the calling code: whose it is, and the runner that it uses."""

from __future__ import annotations

from prefect.context import FlowRunContext, TaskRunContext

SPEC_ATTRIBUTE = "_anyrunner_spec"
"""Attribute of the task runner of a flow run: the spec that it was built from, if it was built from one."""


def current_flow_run() -> FlowRunContext | None:
    """Return the context of the flow run whose own code is calling; None in a task and outside of flow runs."""
    context, of_task = FlowRunContext.get(), TaskRunContext.get()
    if context is None or context.flow_run is None:
        return None
    if of_task is not None and of_task.task_run.flow_run_id == context.flow_run.id:
        return None
    return context
