"""Every rule of the conformance table on every runner, each on a real engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_anyrunner.backends._builtin import BUILT_IN
from prefect_anyrunner.backends._record import Capability
from prefect_anyrunner.conformance import CASES, Case, SharedFlow, Subject

WORKERS = 2
"""Number of workers of the engines that fixtures start."""
SETTINGS: dict[str, dict[str, Any]] = {"thread": {"portable": True}}
"""One option of each runner with a value that is not its default; for others it is rerun_lost."""
RUNNERS = ("thread", "process", "dask", "ray")
ENGINES = {"dask": "dask_cluster", "ray": "ray_head"}
"""Fixtures that start an engine, requested only by cases of that runner."""
LACKS: dict[str, dict[Capability, str]] = {name: dict(BUILT_IN[name].lacks) for name in RUNNERS}


def maker(name: str, engine: Any) -> Callable[..., Any]:
    def make(**options: Any) -> Any:
        match name:
            case "thread":
                from prefect_anyrunner.backends.thread import ThreadPoolTaskRunner

                return ThreadPoolTaskRunner(max_workers=WORKERS, **options)
            case "process":
                from prefect_anyrunner.backends.process import ProcessPoolTaskRunner

                return ProcessPoolTaskRunner(max_workers=WORKERS, **options)
            case "dask":
                from prefect_anyrunner.backends.dask import DaskTaskRunner

                return DaskTaskRunner(address=engine, **options)
            case _:
                from prefect_anyrunner.backends.ray import RayTaskRunner

                return RayTaskRunner(**options)

    return make


@pytest.fixture
def subject(
    request: pytest.FixtureRequest, runner: str, prefect_server: str, tmp_path: Path, engines: dict[str, SharedFlow]
) -> Subject:
    make = maker(runner, request.getfixturevalue(ENGINES[runner]) if runner in ENGINES else None)
    if runner not in engines:
        engines[runner] = SharedFlow(make)
    setting = SETTINGS.get(runner, {"rerun_lost": 3})
    return Subject(runner, make, engines[runner], tmp_path, LACKS[runner], workers=WORKERS, setting=setting)


@pytest.fixture(scope="module")
def engines(request: pytest.FixtureRequest) -> Iterator[dict[str, SharedFlow]]:
    flows: dict[str, SharedFlow] = {}
    yield flows
    for flow in flows.values():
        flow.close()


KNOWN: dict[tuple[str, str], str] = {}
"""Reasons of cases that are known to fail, by runner and case; the mark is strict, so a case that passes fails."""


def parameters() -> Iterator[Any]:
    for runner in RUNNERS:
        for each in CASES:
            if each.only not in (None, runner):
                continue
            marks: list[pytest.MarkDecorator] = [getattr(pytest.mark, runner)] if runner in ENGINES else []
            reasons = [LACKS[runner][need] for need in each.needs if need in LACKS[runner]]
            if reasons:
                marks.append(pytest.mark.skip(reason=f"{runner}: {reasons[0]}"))
            if reason := KNOWN.get((runner, each.id)):
                marks.append(pytest.mark.xfail(strict=True, reason=reason))
            yield pytest.param(runner, each, id=f"{runner}-{each.id}", marks=marks)


@pytest.mark.timeout(600, func_only=True)  # starting an engine may take minutes
@pytest.mark.parametrize(("runner", "rule"), list(parameters()))
def test_rule(runner: str, rule: Case, subject: Subject) -> None:
    rule.body(subject)


def test_case_ids_are_unique() -> None:
    ids = [each.id for each in CASES]
    assert len(set(ids)) == len(ids)
