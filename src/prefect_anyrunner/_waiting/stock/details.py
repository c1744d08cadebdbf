"""Names of stock runs, and the root cause of blocked ones, fetched from the API in bulk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import TaskRun
from prefect.exceptions import CrashedRun, UpstreamTaskError

from prefect_anyrunner._base.safe_text import described
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.of_api import outcome_of, task_name, upstream_of
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.api import task_runs
from prefect_anyrunner._prefect.states import because

MAX_DEPTH = 50
"""Number of levels of upstream runs that are searched for the root cause of a blocked run."""


def add_details(
    outcomes: Sequence[Outcome], at_hand: Mapping[UUID, Outcome], keys: Mapping[str, UUID]
) -> list[Outcome]:
    """Return `outcomes` of stock futures with names, times, attempts and root causes from the API.

    Args:
        outcomes: the outcomes that `StockRun` returns; completed ones are not changed, because fetching the names of a
            whole map is slow.
        at_hand: every outcome that is known, those of our own runners too, by task run id.
        keys: the run ids of Dask futures by Dask's own key, which its errors mention.
    """
    wanted = [outcome for outcome in outcomes if outcome.status is not Status.COMPLETED]
    ids = [outcome.task_run_id for outcome in wanted if outcome.task_run_id is not None]
    # An outcome with a state comes from Prefect's task engine, so its run is in the API or will be soon.
    sure = [
        outcome.task_run_id
        for outcome in wanted
        if outcome.task_run_id is not None and outcome.state is not None and outcome.state.state_details.task_run_id
    ]
    # A run that the engine gave up without a state may have reported the end of its body to the API.
    lost = [
        o.task_run_id for o in wanted if o.task_run_id is not None and o.state is None and o.status is Status.CRASHED
    ]
    runs = task_runs(ids, expected=sure, ended=lost)
    named = [_named(outcome, runs.get(outcome.task_run_id) if outcome.task_run_id else None) for outcome in outcomes]
    known = {**at_hand, **{outcome.task_run_id: outcome for outcome in named if outcome.task_run_id is not None}}
    return [
        _with_root(outcome, known, runs, keys) if outcome.status is Status.BLOCKED else outcome for outcome in named
    ]


def _named(outcome: Outcome, run: TaskRun | None) -> Outcome:
    if run is None:
        return outcome
    facts: dict[str, Any] = {
        "task_name": task_name(run),
        "task_run_name": run.name,
        "attempts": max(run.run_count, 1),
        "started": run.start_time,
        "ended": run.end_time or outcome.ended,
    }
    state = run.state
    if outcome.state is None:
        facts["state"] = state
        if outcome.status is Status.CRASHED and state is not None and state.is_final() and not state.is_crashed():
            # The body ended, but its result did not arrive: the text mentions both.
            text = f"{outcome.error}; the Prefect API has it as {state.name}"
            cause = outcome.error.__cause__ if outcome.error is not None else None
            facts["error"] = because(CrashedRun(f"{text}: {state.message}" if state.message else text), cause)
    return replace(outcome, **facts)


def _with_root(
    outcome: Outcome, known: dict[UUID, Outcome], runs: dict[UUID, TaskRun], keys: Mapping[str, UUID]
) -> Outcome:
    assert outcome.error is not None
    cause = outcome.error.__cause__
    start = list(outcome.upstream)
    if type(cause).__name__ == "KilledWorker" and cause is not None and cause.args[0] in keys:
        start = [keys[cause.args[0]]]
    if not start and outcome.task_run_id in runs:
        start = upstream_of(runs[outcome.task_run_id])
    roots = _roots(start, known, runs)
    if not roots:
        text = f"An upstream task run was lost: {described(cause)}" if cause is not None else str(outcome.error)
        return replace(outcome, error=because(UpstreamTaskError(text), cause))
    first = roots[0]
    text = f"Upstream task run {first.task_run_name!r} ({first.task_run_id}) ended {first.status.value}"
    if first.error is not None:
        text += f": {described(first.error)}"
    return replace(
        outcome,
        error=because(UpstreamTaskError(text), first.error),
        upstream=tuple(root.task_run_id for root in roots if root.task_run_id is not None),
    )


def _roots(start: list[UUID], known: dict[UUID, Outcome], runs: dict[UUID, TaskRun]) -> list[Outcome]:
    """Return the runs at or above `start` that did not complete for a reason of their own."""
    roots: list[Outcome] = []
    seen: set[UUID] = set()
    level = start
    for _ in range(MAX_DEPTH):
        level = [run_id for run_id in dict.fromkeys(level) if run_id not in seen]
        seen.update(level)
        missing = [run_id for run_id in level if run_id not in known]
        if missing:
            for run_id, run in task_runs(missing, expected=missing).items():
                runs[run_id] = run
                known[run_id] = outcome_of(run)
        above: list[UUID] = []
        for run_id in level:
            outcome = known.get(run_id)
            if outcome is None or outcome.status is Status.COMPLETED:
                continue
            upstream = list(outcome.upstream)
            if outcome.status is Status.BLOCKED and not upstream and run_id in runs:
                upstream = upstream_of(runs[run_id])
            if outcome.status is Status.BLOCKED and upstream:
                above += upstream
            else:
                roots.append(outcome)
        if not above:
            break
        level = above
    return roots
