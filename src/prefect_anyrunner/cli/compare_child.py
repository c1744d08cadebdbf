"""One runner of `anyrunner compare`, in a process of its own: `python -m prefect_anyrunner.cli.compare_child FD`.

It receives the flow, the parameters and the spec, sends (done, failed, total) while task runs end, and at last sends
the record of the flow run.
"""

from __future__ import annotations

import sys
import time

from prefect.context import TaskRunContext

from prefect_anyrunner._provisioning.child import Parent
from prefect_anyrunner.cli.canonical import fingerprint
from prefect_anyrunner.cli.facts import FlowRecord, run_records, type_name
from prefect_anyrunner.cli.load import load_flow
from prefect_anyrunner.cli.run import run_flow
from prefect_anyrunner.cli.values import value_text

PROGRESS_SECONDS = 0.05
"""Minimum time, in seconds, between two progress messages."""


def main(parent: Parent) -> None:
    """Run the one flow that `parent` asks for."""
    flow_spec, parameters, spec = parent.receive()
    flow = load_flow(flow_spec)
    began = time.monotonic()
    end = run_flow(flow, parameters, spec, ProgressWriter(parent))
    parent.send(
        FlowRecord(
            runner=str(spec),
            seconds=time.monotonic() - began,
            runs=run_records(outcome for report in end.reports for outcome in report),
            value=fingerprint(end.result) if end.error is None else "",
            value_text=value_text(end.result) if end.error is None else "",
            error=type_name(end.error),
            failure=end.failure() if end.error is not None else "",
            crashed="",
        )
    )


class ProgressWriter:
    """Sends the progress of the flow's own waits and ignores waits inside tasks."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._last = 0.0

    def __call__(self, done: int, failed: int, total: int | None) -> None:
        """Send a message, unless the last one was sent a moment ago."""
        now = time.monotonic()
        if TaskRunContext.get() is None and (done == total or now - self._last >= PROGRESS_SECONDS):
            self._last = now
            self._parent.send((done, failed, total))


if __name__ == "__main__":
    main(Parent(int(sys.argv[1])))
