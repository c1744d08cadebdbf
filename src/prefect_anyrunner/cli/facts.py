"""Records of flow runs as plain data, and the differences between two of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypedDict

from prefect_anyrunner._base.safe_text import clipped, described
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._reports.render import label
from prefect_anyrunner.cli.canonical import canonical, fingerprint, full_name
from prefect_anyrunner.cli.values import MAX_INLINE, both, value_text

_ID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


class RunRecord(TypedDict):
    """The parts of one task run that must be the same on every runner; `value_text` and `error_text` are for people."""

    label: str
    status: str
    value: str
    value_text: str
    error: str
    args: str
    error_text: str


class FlowRecord(TypedDict):
    """One flow run on one runner. `crashed`: how the process ended if it ended before the flow, else empty."""

    runner: str
    seconds: float
    runs: list[RunRecord]
    value: str
    value_text: str
    error: str
    failure: str
    crashed: str


def run_records(outcomes: Iterable[Outcome]) -> list[RunRecord]:
    """Return the record of each distinct run, in submission order."""
    distinct: dict[object, Outcome] = {}
    for outcome in outcomes:
        distinct.setdefault(outcome.task_run_id or id(outcome), outcome)
    # Names of runs end in random letters, and errors may quote them; the label is the same in all flow runs.
    labels = {outcome.task_run_name: label(outcome) for outcome in distinct.values() if outcome.task_run_name}
    return [_record(outcome, labels) for outcome in distinct.values()]


def _record(outcome: Outcome, labels: Mapping[str, str]) -> RunRecord:
    error = outcome.error
    return RunRecord(
        label=label(outcome),
        status=outcome.status.value,
        value=fingerprint(outcome.value) if outcome.status is Status.COMPLETED else "",
        value_text=value_text(outcome.value) if outcome.status is Status.COMPLETED else "",
        error=type_name(error),
        args=_without_names(canonical(error.args), labels) if error is not None else "",
        error_text=_without_names(described(error), labels) if error is not None else "",
    )


def type_name(error: BaseException | None) -> str:
    """Return the full name of the error's class, without the module if it is built in, or "" for None."""
    return "" if error is None else full_name(type(error))


def differences(first: FlowRecord, other: FlowRecord) -> list[str]:
    """Return a text for each difference; an empty list when both ended alike."""
    if first["crashed"] or other["crashed"]:
        crashed = other if other["crashed"] else first
        return [f"{crashed['runner']}: {crashed['crashed']}"]
    found = []
    names = (first["runner"], other["runner"])
    if first["error"] != other["error"]:
        found.append(f"the flow: {_ended(first)} on {first['runner']}, {_ended(other)} on {other['runner']}")
    if len(first["runs"]) != len(other["runs"]):
        found.append(f"{len(first['runs'])} task runs on {first['runner']}, {len(other['runs'])} on {other['runner']}")
    for one, two in zip(first["runs"], other["runs"], strict=False):
        if {**one, "error_text": "", "value_text": ""} != {**two, "error_text": "", "value_text": ""}:
            found.append(_difference(one, two, names))
    if not found and first["value"] != other["value"]:
        found.append(both("the flow returned", first["value_text"], other["value_text"], names))
    return found


def _difference(one: RunRecord, two: RunRecord, names: tuple[str, str]) -> str:
    if one["value"] and two["value"] and one["label"] == two["label"]:
        return both(f"{one['label']}: completed with", one["value_text"], two["value_text"], names)
    return f"{one['label']}: {_summary(one)} on {names[0]}, {_summary(two)} on {names[1]}"


def _ended(flow: FlowRecord) -> str:
    return f"failed ({flow['failure'].splitlines()[0]})" if flow["failure"] else "completed"


def _summary(run: RunRecord) -> str:
    if run["error_text"]:
        return f"{run['status']} ({run['error_text']})"
    return f"{run['status']} with {clipped(run['value_text'], MAX_INLINE)}" if run["value"] else run["status"]


def status_counts(runs: Iterable[RunRecord]) -> Counter[str]:
    """Return the number of runs with each status."""
    return Counter(run["status"] for run in runs)


def error_counts(runs: Iterable[RunRecord]) -> Counter[str]:
    """Return the number of runs with each type of exception."""
    return Counter(run["error"].rpartition(".")[2] for run in runs if run["error"])


def _without_names(text: str, labels: Mapping[str, str]) -> str:
    """Return `text` with ids and names of runs, which differ from flow run to flow run, replaced."""
    text = _ID.sub("<id>", text)
    for name, replacement in labels.items():
        if name in text:
            text = text.replace(name, replacement)
    return text
