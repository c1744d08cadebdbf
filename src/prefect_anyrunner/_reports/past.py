"""The report of a past flow run, of our runners or of Prefect's own, from the Prefect API alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import PurePath
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
    LogFilterLevel,
    LogFilterTaskRunId,
)
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.client.schemas.sorting import LogSort
from prefect.exceptions import FailedRun, UnfinishedRun

from prefect_anyrunner._base.safe_text import clipped
from prefect_anyrunner._base.secrets import hide_in_prose
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.of_api import outcome_of, upstream_of
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.api import of_flow_run
from prefect_anyrunner._reports.origin import Origin
from prefect_anyrunner._reports.printed import RECORDED_TRACEBACK
from prefect_anyrunner._reports.render import MAX_MESSAGE, RECORDED_WHERE
from prefect_anyrunner._reports.report import Report

MAX_LOGS = 20
"""Maximum number of groups of failures whose tracebacks are looked for in the logs of their first runs."""
MAX_DEPTH = 50
"""Number of levels of upstream runs in which the root of a blocked run is looked for."""

_ERROR = 40
_RAISED = re.compile(r"(?P<kind>[A-Za-z_][\w.]*)(?:: (?P<text>.*))?\Z", re.S)
_PREFIX = "Task run encountered an exception "
_FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+), in (?P<name>.*)')
_RUNNER = re.compile(r"Task runner: (?P<runner>.*), from (?P<source>.*)\.\Z", re.S)
_HEAD = "Traceback (most recent call last):"


def report_of(client: SyncPrefectClient, flow_run: FlowRun) -> Report:
    """Return the report of a flow run. Its `notes` say what the API cannot know. Raises `httpx.HTTPError`."""
    runs = sorted(of_flow_run(client, flow_run.id), key=_submitted)
    known = {run.id: _outcome(run) for run in runs}
    above = {run.id: upstream_of(run) for run in runs}
    outcomes = [
        replace(outcome, index=index, upstream=_roots(outcome, known, above))
        for index, outcome in enumerate(known.values())
    ]
    report = Report(outcomes, publishes=False)
    failed = [group for group in report.groups() if group[0].status is Status.FAILED]
    has_tracebacks = all([_add_log(client, group) for group in failed[:MAX_LOGS]])
    return Report(
        outcomes,
        origin=_origin(client, flow_run),
        publishes=False,
        notes=_notes(client, flow_run, report.counts, groups=len(failed), has_tracebacks=has_tracebacks),
    )


def _submitted(run: TaskRun) -> tuple[bool, datetime | None, UUID]:
    return run.expected_start_time is None, run.expected_start_time, run.id


def _outcome(run: TaskRun) -> Outcome:
    outcome = outcome_of(run)
    place = run.name.removeprefix(outcome.task_name).lstrip("-")
    outcome = replace(outcome, path=(place,) if place else ())
    if outcome.status is Status.UNFINISHED:
        return replace(outcome, error=UnfinishedRun(f"The API has it as {run.state_name or 'a run without a state'}."))
    if outcome.status is not Status.FAILED or run.state is None:
        return outcome
    message = run.state.message or ""
    raised = _RAISED.match(message.removeprefix(_PREFIX).strip()) if message.startswith(_PREFIX) else None
    if raised is None:
        return outcome
    return replace(outcome, error=_class(raised["kind"].rpartition(".")[2])(raised["text"] or ""))


@cache
def _class(kind: str) -> type[FailedRun]:
    """Return a class with the name of an exception that only the API's text knows."""
    return type(kind, (FailedRun,), {"__module__": "builtins"})


def _roots(outcome: Outcome, known: dict[UUID, Outcome], above: dict[UUID, list[UUID]]) -> tuple[UUID, ...]:
    """Return the runs to blame for a blocked one: those at or above its upstream runs that no other run blocked."""
    if outcome.status is not Status.BLOCKED or outcome.task_run_id is None:
        return ()
    roots: list[UUID] = []
    level = list(outcome.upstream) or above[outcome.task_run_id]
    seen: set[UUID] = set()
    for _ in range(MAX_DEPTH):
        level = [run_id for run_id in dict.fromkeys(level) if run_id not in seen]
        seen.update(level)
        bad = [known[run_id] for run_id in level if run_id in known and known[run_id].status is not Status.COMPLETED]
        roots += [each.task_run_id for each in bad if each.status is not Status.BLOCKED and each.task_run_id]
        level = [
            run_id
            for each in bad
            if each.status is Status.BLOCKED and each.task_run_id
            for run_id in (each.upstream or above[each.task_run_id])
        ]
    return tuple(roots)


def _add_log(client: SyncPrefectClient, group: Sequence[Outcome]) -> bool:
    """Add the traceback in the log of a group's first run to its error; return whether the log has one."""
    error, run_id = group[0].error, group[0].task_run_id
    assert error is not None and run_id is not None, "a failed run of the API has both"
    logs = client.read_logs(
        LogFilter(level=LogFilterLevel(ge_=_ERROR), task_run_id=LogFilterTaskRunId(any_=[run_id])), limit=20
    )
    text = next((log.message for log in reversed(logs) if _HEAD in log.message), "")
    if not text:
        return False
    lines = _without_machinery(text[text.index(_HEAD) :].splitlines())
    setattr(error, RECORDED_TRACEBACK, "\n".join(lines))
    frames = [found for line in lines if (found := _FRAME.match(line)) is not None]
    if frames:
        last = frames[-1]
        setattr(error, RECORDED_WHERE, f"{PurePath(last['file']).name}:{last['line']} in {last['name']}")
    return True


def _without_machinery(lines: Iterable[str]) -> list[str]:
    """Return the lines of tracebacks without the first frames of each that are Prefect's or ours."""
    kept: list[str] = []
    skipping = at_start = False
    for line in lines:
        if line.startswith(_HEAD):
            at_start = True
        elif (frame := _FRAME.match(line)) is not None:
            skipping = at_start and not {"prefect", "prefect_anyrunner"}.isdisjoint(PurePath(frame["file"]).parts)
            at_start = skipping
        elif not line.startswith("    "):
            skipping = False
        if not skipping:
            kept.append(line)
    return kept


def _origin(client: SyncPrefectClient, flow_run: FlowRun) -> Origin:
    # The line is near the start of the log. It is not searched for: a server on an older SQLite cannot search texts.
    of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run.id]))
    logs = client.read_logs(of_run, limit=50, sort=LogSort.TIMESTAMP_ASC)
    lines = [found for log in logs if (found := _RUNNER.match(log.message)) is not None]
    return Origin(
        flow_run_id=flow_run.id,
        flow_run_name=flow_run.name,
        flow_name=client.read_flow(flow_run.flow_id).name,
        runner=lines[-1]["runner"] if lines else "",
        chosen_by=lines[-1]["source"] if lines else "",
        attempt=max(flow_run.run_count, 1),
    )


def _notes(
    client: SyncPrefectClient, flow_run: FlowRun, counts: Counter[Status], *, groups: int, has_tracebacks: bool
) -> list[str]:
    state = flow_run.state
    name = state.name if state is not None else "without a state"
    notes = [f"The flow run is {name}."]
    if state is not None and not state.is_completed() and state.message and "TaskRunsFailed" not in state.message:
        notes[0] = f"The flow run is {name}: {clipped(hide_in_prose(state.message), MAX_MESSAGE)}"
    if state is not None and state.is_final() and counts[Status.UNFINISHED]:
        notes.append(f"Some task runs have no end in the API: `anyrunner audit {flow_run.id}` names them.")
    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))
    artifacts = client.read_artifacts(artifact_filter=mine, limit=200)
    for artifact in artifacts:
        if artifact.type == "progress" and "task runs completed" in (artifact.description or ""):
            notes.append(f"Not all completed task runs are in the API: {artifact.description}.")
    own = [artifact.key for artifact in artifacts if (artifact.key or "").startswith("failures-of-")]
    where = f" The artifact {own[0]!r} of the flow run has the arguments of failed ones." if own else ""
    notes.append(f"The API knows neither arguments nor workers nor places in a map of task runs.{where}")
    if not has_tracebacks:
        notes.append("Tracebacks come from the logs of task runs, and the API has none for some of them.")
    if groups > MAX_LOGS:
        notes.append(f"Tracebacks are shown for the {MAX_LOGS} largest of {groups} groups of failures.")
    return notes
