"""What two runs of a flow must have in common, as plain data that can be compared between processes."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypedDict

import cloudpickle

from prefect_anyrunner._base.safe_text import described
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._outcomes.render import label

_ID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


class RunFacts(TypedDict):
    """One task run: what must be the same on every runner. `said` is its error for people."""

    label: str
    status: str
    value: str
    error: str
    args: str
    said: str


class FlowFacts(TypedDict):
    """One flow run on one runner. `crashed` tells, when the process itself came to nothing, how."""

    runner: str
    seconds: float
    runs: list[RunFacts]
    value: str
    error: str
    failure: str
    crashed: str


def facts_of(outcomes: Iterable[Outcome]) -> list[RunFacts]:
    """Return the facts of each distinct run, in submission order."""
    distinct: dict[object, Outcome] = {}
    for outcome in outcomes:
        distinct.setdefault(outcome.task_run_id or id(outcome), outcome)
    # Names of runs end in random letters, and ids are random: both stand in texts that are otherwise the same.
    names = {outcome.task_run_name: label(outcome) for outcome in distinct.values() if outcome.task_run_name}
    return [_facts(outcome, names) for outcome in distinct.values()]


def _facts(outcome: Outcome, names: Mapping[str, str]) -> RunFacts:
    error = outcome.error
    return RunFacts(
        label=label(outcome),
        status=outcome.status.value,
        value=fingerprint(outcome.value) if outcome.status is Status.COMPLETED else "",
        error=type_name(error),
        args=_neutral(canonical(error.args), names) if error is not None else "",
        said=_neutral(described(error), names) if error is not None else "",
    )


def type_name(error: BaseException | None) -> str:
    """Return the full name of the error's class, without a module for built-in ones."""
    if error is None:
        return ""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def fingerprint(value: Any) -> str:
    """Return a text that is equal for equal values, also in another process."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Return `value` as text: what is plain written out, with unordered containers in an order; the rest pickled."""
    match value:
        case None | bool() | int() | float() | complex() | str() | bytes():
            return f"{type(value).__name__}:{value!r}"
        case Mapping() if type(value) is dict:
            return "{" + ",".join(sorted(f"{canonical(k)}={canonical(v)}" for k, v in value.items())) + "}"
        case AbstractSet() if type(value) in (set, frozenset):
            return "<" + ",".join(sorted(map(canonical, value))) + ">"
        case Sequence() if type(value) in (list, tuple):
            return f"{type(value).__name__}[" + ",".join(map(canonical, value)) + "]"
        case BaseException():
            return f"{type_name(value)}{canonical(value.args)}"
    try:
        return f"{type(value).__qualname__}:{hashlib.sha256(cloudpickle.dumps(value)).hexdigest()}"
    except Exception:  # it cannot be told from others of its type: a lock, a socket
        return type(value).__qualname__


def differences(first: FlowFacts, other: FlowFacts) -> list[str]:
    """Return what differs, one text each; nothing when both ended alike."""
    if first["crashed"] or other["crashed"]:
        crashed = other if other["crashed"] else first
        return [f"{crashed['runner']}: {crashed['crashed']}"]
    found = []
    if first["error"] != other["error"]:
        found.append(f"the flow: {_ended(first)} on {first['runner']}, {_ended(other)} on {other['runner']}")
    if len(first["runs"]) != len(other["runs"]):
        found.append(f"{len(first['runs'])} task runs on {first['runner']}, {len(other['runs'])} on {other['runner']}")
    for one, two in zip(first["runs"], other["runs"], strict=False):
        if {**one, "said": ""} != {**two, "said": ""}:
            found.append(f"{one['label']}: {_said(one)} on {first['runner']}, {_said(two)} on {other['runner']}")
    if not found and first["value"] != other["value"]:
        found.append(f"the flow returned another result on {first['runner']} than on {other['runner']}")
    return found


def _ended(flow: FlowFacts) -> str:
    return f"failed ({flow['failure'].splitlines()[0]})" if flow["failure"] else "completed"


def _said(run: RunFacts) -> str:
    if run["said"]:
        return f"{run['status']} ({run['said']})"
    return f"{run['status']} with result {run['value'][:8]}" if run["value"] else run["status"]


def status_counts(runs: Iterable[RunFacts]) -> Counter[str]:
    """Return how many runs have each status."""
    return Counter(run["status"] for run in runs)


def error_counts(runs: Iterable[RunFacts]) -> Counter[str]:
    """Return how many runs have each type of exception, most frequent first."""
    return Counter(run["error"].rpartition(".")[2] for run in runs if run["error"])


def _neutral(text: str, names: Mapping[str, str]) -> str:
    text = _ID.sub("<id>", text)
    for name, instead in names.items():
        if name in text:
            text = text.replace(name, instead)
    return text
