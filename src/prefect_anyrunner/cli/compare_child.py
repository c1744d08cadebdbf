"""One runner of `anyrunner compare`, in a process of its own: `python -m prefect_anyrunner.cli.compare_child FOLDER`.

Reads `job.pickle` in the folder and appends lines to `told.jsonl`: [done, failed, total] as task runs end, the facts
of the flow run at last.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from pathlib import Path
from typing import IO, Any

from prefect.context import TaskRunContext

from prefect_anyrunner._choosing.spec import RunnerSpec
from prefect_anyrunner.cli.facts import FlowFacts, facts_of, fingerprint, type_name
from prefect_anyrunner.cli.load import load_flow
from prefect_anyrunner.cli.run import run_flow

TOLD_EVERY = 0.05
"""Seconds between two lines of progress at least."""


def main(folder: Path) -> None:
    """Run the job of `folder`."""
    flow_spec, parameters, spec = pickle.loads((folder / "job.pickle").read_bytes())
    assert isinstance(spec, RunnerSpec), "written by compare"
    with (folder / "told.jsonl").open("a") as told:
        flow = load_flow(flow_spec)
        began = time.monotonic()
        end = run_flow(flow, parameters, spec, _Telling(told))
        facts = FlowFacts(
            runner=str(spec),
            seconds=time.monotonic() - began,
            runs=facts_of(outcome for report in end.reports for outcome in report),
            value=fingerprint(end.result) if end.error is None else "",
            error=type_name(end.error),
            failure=end.failure() if end.error is not None else "",
            crashed="",
        )
        _tell(told, facts)


class _Telling:
    """Tells how far the flow's own waits have come; waits inside tasks are their own business."""

    def __init__(self, told: IO[str]) -> None:
        self._told = told
        self._last = 0.0

    def __call__(self, done: int, failed: int, total: int | None) -> None:
        now = time.monotonic()
        if TaskRunContext.get() is None and (done == total or now - self._last >= TOLD_EVERY):
            self._last = now
            _tell(self._told, [done, failed, total])


def _tell(told: IO[str], what: Any) -> None:
    told.write(json.dumps(what) + "\n")
    told.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
