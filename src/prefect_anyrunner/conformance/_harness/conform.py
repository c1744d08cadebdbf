"""The whole table on one runner: `conform`."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection

from prefect_anyrunner import RunnerSpec, SpecError
from prefect_anyrunner._base.versions import versions
from prefect_anyrunner._provisioning.server import server_environment
from prefect_anyrunner.backends import _registry
from prefect_anyrunner.conformance._harness.case_runner import CaseRunner
from prefect_anyrunner.conformance.report import CaseResult, ConformanceReport
from prefect_anyrunner.conformance.table import CASES, Case


def cases_for(spec: RunnerSpec, rules: Collection[str] = ()) -> list[Case]:
    """Return the cases about the backend of `spec`, in the order of the table.

    `rules`: ids of rules or of cases to return; all cases if it is empty. Raises SpecError for an unknown id.
    """
    known = {each for case in CASES for each in (case.rule, case.id)}
    if unknown := [rule for rule in rules if rule not in known]:
        names = ", ".join(dict.fromkeys(case.rule for case in CASES))
        raise SpecError(f"unknown rule {unknown[0]!r} (the rules are {names})")
    kind = spec.backend.removeprefix("stock+")
    return [
        case
        for case in CASES
        if case.only in (None, kind) and (not rules or not {case.rule, case.id}.isdisjoint(rules))
    ]


def conform(
    spec: str | RunnerSpec,
    *,
    rules: Collection[str] = (),
    seconds: float = 150.0,
    follow: Callable[[CaseResult], None] | None = None,
) -> ConformanceReport:
    """Run the table of rules on a runner and return which cases passed and failed; a failed case raises nothing.

    `spec`: a URL, a named runner or a `RunnerSpec`, of any backend that is installed. `rules`: ids of rules or cases;
    all of them if it is empty. `seconds`: seconds after which a case counts as hung. `follow`: called with each result
    when it is known. Uses the configured Prefect API, or a temporary server. Raises SpecError, BackendUnavailable, and
    AnyRunnerError when the engine does not start.
    """
    loaded = RunnerSpec.load(spec)
    loaded.runner()
    cases = cases_for(loaded, rules)
    results = []
    with server_environment() as server, CaseRunner(loaded, seconds=seconds, environment=server) as runner:
        runner.start()
        for case in cases:
            results.append(runner.run(case))
            if follow is not None:
                follow(results[-1])
    backend = _registry.get(loaded.backend)
    assert backend is not None, "its cases have just run"
    return ConformanceReport(
        str(loaded),
        loaded.backend,
        tuple(results),
        {"python": platform.python_version(), **versions(("prefect_anyrunner", "prefect", *backend.requires))},
        platform.platform(terse=True),
    )
