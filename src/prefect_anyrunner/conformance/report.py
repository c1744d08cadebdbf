"""What a runner kept and broke of the table, as data: a `CaseResult` per case, a `ConformanceReport` per runner."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

from prefect_anyrunner.conformance.table import CASES

Verdict = Literal["pass", "fail", "skip"]


@dataclass(frozen=True)
class CaseResult:
    """What became of one case.

    `verdict`: "pass"; "fail", also where a declared lack works after all; "skip" where the backend declares that it
    cannot. `detail`: why it failed, in a line or two, or the declared reason. `traceback`: the whole of it, if there is
    one; not kept in JSON. `seconds`: how long it took.
    """

    case: str
    rule: str
    verdict: Verdict
    detail: str = ""
    seconds: float = 0.0
    traceback: str = field(default="", compare=False)


@dataclass(frozen=True)
class ConformanceReport:
    """What one runner kept and broke of the table.

    `spec`: the runner, without secrets. `versions`: distribution to version. `platform`: the machine's system.
    """

    spec: str
    backend: str
    results: tuple[CaseResult, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing failed that was not declared, and nothing that was declared a lack works."""
        return not self.failures

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """The results that are "fail"."""
        return tuple(result for result in self.results if result.verdict == "fail")

    @property
    def counts(self) -> Counter[str]:
        """How many cases have each verdict."""
        return Counter(result.verdict for result in self.results)

    def rules(self) -> dict[str, tuple[CaseResult, ...]]:
        """Return the results of each rule, in the order of the table."""
        found: dict[str, list[CaseResult]] = {}
        for result in self.results:
            found.setdefault(result.rule, []).append(result)
        return {rule: tuple(results) for rule, results in found.items()}

    def to_json(self) -> str:
        """Return the report as JSON text; `from_json` reads it back."""
        return json.dumps(self.as_dict(), indent=2)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        plain = asdict(self)
        for result in plain["results"]:
            del result["traceback"]
            result["seconds"] = round(result["seconds"], 2)
        return {"format": 1, "ok": self.ok, **plain, "versions": dict(self.versions)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Return the report of what `as_dict` gave. Raises ValueError for anything else."""
        try:
            if plain["format"] != 1:
                raise ValueError(f"format {plain['format']!r} is not known here")
            results = tuple(CaseResult(**each) for each in plain["results"])
            return cls(plain["spec"], plain["backend"], results, dict(plain["versions"]), plain["platform"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no conformance report: {type(error).__name__}: {error}") from error

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the report of a JSON text. Raises ValueError when it is none."""
        return cls.from_dict(json.loads(text))


def merged(before: ConformanceReport, after: ConformanceReport) -> ConformanceReport:
    """Return `after` with the results of `before` for cases that it has not run, if both ran on the same versions."""
    if (dict(before.versions), before.platform) != (dict(after.versions), after.platform):
        return after
    results = {result.case: result for result in (*before.results, *after.results)}
    order = {case.id: number for number, case in enumerate(CASES)}
    known = sorted((result for result in results.values() if result.case in order), key=lambda each: order[each.case])
    return replace(after, results=tuple(known))


def changes(before: ConformanceReport, after: ConformanceReport) -> list[str]:
    """Return a line for each case that came, went, or has another verdict than before."""
    old = {result.case: result for result in before.results}
    new = {result.case: result for result in after.results}
    lines = [f"{case}: no longer in the table" for case in old if case not in new]
    for case, result in new.items():
        detail = f" ({result.detail.splitlines()[0]})" if result.detail else ""
        if case not in old:
            lines.append(f"{case}: new, {result.verdict}{detail}")
        elif old[case].verdict != result.verdict:
            lines.append(f"{case}: {old[case].verdict} -> {result.verdict}{detail}")
    for name in {**before.versions, **after.versions}:
        was, now = before.versions.get(name, "absent"), after.versions.get(name, "absent")
        if was != now:
            lines.append(f"{name}: {was} -> {now}")
    return lines
