"""The results of the table as data: a `CaseResult` for each case, a `ConformanceReport` for each runner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

Verdict = Literal["pass", "fail", "skip"]


@dataclass(frozen=True)
class CaseResult:
    """The result of one case.

    `verdict`: "pass"; "fail", also when something works that the backend declares as lacking; "skip" when it declares
    that it cannot do this and fails. `detail`: why the case failed, in a line or two, or the declared reason.
    `seconds`: the duration. `traceback`: the full traceback or "", not kept in JSON.
    """

    case: str
    rule: str
    verdict: Verdict
    detail: str = ""
    seconds: float = 0.0
    traceback: str = field(default="", compare=False)


@dataclass(frozen=True)
class ConformanceReport:
    """The results of one runner.

    `spec`: the runner, without secrets. `versions`: the version of each distribution. `platform`: the operating system.
    """

    spec: str
    backend: str
    results: tuple[CaseResult, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""

    @property
    def ok(self) -> bool:
        """Whether no case failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """The results whose verdict is "fail"."""
        return tuple(result for result in self.results if result.verdict == "fail")

    @property
    def counts(self) -> Counter[str]:
        """The number of cases with each verdict."""
        return Counter(result.verdict for result in self.results)

    def rules(self) -> dict[str, tuple[CaseResult, ...]]:
        """Return the results of each rule, in the order of the table."""
        found: dict[str, list[CaseResult]] = {}
        for result in self.results:
            found.setdefault(result.rule, []).append(result)
        return {rule: tuple(results) for rule, results in found.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        plain = asdict(self)
        for result in plain["results"]:
            del result["traceback"]
            result["seconds"] = round(result["seconds"], 2)
        return {"format": 1, "ok": self.ok, **plain, "versions": dict(self.versions)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Return the report that `as_dict` made plain data of. Raises ValueError for any other data."""
        try:
            if plain["format"] != 1:
                raise ValueError(f"format {plain['format']!r} is unknown")
            results = tuple(CaseResult(**each) for each in plain["results"])
            return cls(plain["spec"], plain["backend"], results, dict(plain["versions"]), plain["platform"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is not a conformance report: {type(error).__name__}: {error}") from error


def changes(before: ConformanceReport, after: ConformanceReport) -> list[str]:
    """Return a line for each case that is new, is gone or has another verdict, and for each version that differs."""
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
