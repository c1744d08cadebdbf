"""A flow whose runs log a line and emit an event right before its workers end; prints the id of the flow run."""

from __future__ import annotations

import sys

from prefect import flow, get_run_logger, task
from prefect.context import FlowRunContext
from prefect.events import emit_event

from prefect_anyrunner import AnyTaskRunner, gather


@task
def say(flow_run_id: str, number: int) -> None:
    get_run_logger().critical(f"line {number}")  # which every level of the log lets through
    emit_event(event="anyrunner.test.said", resource={"prefect.resource.id": f"said.{flow_run_id}.{number}"})


@flow(task_runner=AnyTaskRunner())
def saying(count: int) -> str:
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    flow_run_id = str(context.flow_run.id)
    gather([say.submit(flow_run_id, number) for number in range(count)])
    return flow_run_id


if __name__ == "__main__":
    print(saying(int(sys.argv[1])))
