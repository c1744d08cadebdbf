"""The next steps for a reader of failures, by the kinds of failure."""

from __future__ import annotations

from collections import Counter

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._reports.origin import Origin


def advice(counts: Counter[Status], origin: Origin | None) -> list[str]:
    """Return sentences that say what to do next. Code in them is between backticks."""
    lines = []
    if counts[Status.FAILED]:
        lines.append(
            "Failed: read the traceback of a group, and open one of its runs for its log. To debug the task, call "
            "`.fn(...)` of it with the inputs of that run."
        )
    if counts[Status.CRASHED]:
        lines.append(
            "Crashed: the worker died, or the task ended by something else than an `Exception`. Look at the memory and "
            "the log of the worker. The option `rerun_lost=1` has runs executed again whose worker died."
        )
    if counts[Status.UNFINISHED]:
        lines.append(
            "Unfinished: the `timeout` of the wait ran out. These runs went on; their pages say how they ended."
        )
    if counts[Status.BLOCKED]:
        lines.append("Blocked: repair what they waited for. They have not run.")
    if origin is not None:
        lines.append(f"`anyrunner report {origin.flow_run_id} -o report.html` makes a page with all runs.")
    return lines
