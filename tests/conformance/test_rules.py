"""Every rule of the conformance table on every runner, each on a real engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_anyrunner.backends._builtin import BUILT_IN
from prefect_anyrunner.backends._record import Capability
from prefect_anyrunner.conformance import CASES, Case, SharedFlow, Subject

WORKERS = 2  # of the fixtures' engines
# One option of each runner, with a value that is not its default.
SETTINGS: dict[str, dict[str, Any]] = {"thread": {"portable": True}}
RUNNERS = ("thread", "process", "dask", "ray")
# One request for a fixture that starts an engine, made only when the first case of that runner comes.
ENGINES = {"dask": "dask_cluster", "ray": "ray_head"}
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


# Cases that are known to fail, each with the true reason: strict, so that the mark goes when the reason does.
KNOWN: dict[tuple[str, str], str] = {}


def parameters() -> Iterator[Any]:
    for runner in RUNNERS:
        for each in CASES:
            if each.only not in (None, runner):
                continue
            marks: list[pytest.MarkDecorator] = [getattr(pytest.mark, runner)] if runner in ENGINES else []
            lacked = [LACKS[runner][need] for need in each.needs if need in LACKS[runner]]
            if lacked:
                marks.append(pytest.mark.skip(reason=f"{runner}: {lacked[0]}"))
            if reason := KNOWN.get((runner, each.id)):
                marks.append(pytest.mark.xfail(strict=True, reason=reason))
            yield pytest.param(runner, each, id=f"{runner}-{each.id}", marks=marks)


@pytest.mark.timeout(600, func_only=True)  # an engine may take its time to start
@pytest.mark.parametrize(("runner", "rule"), list(parameters()))
def test_rule(runner: str, rule: Case, subject: Subject) -> None:
    rule.body(subject)


def test_case_ids_are_unique() -> None:
    ids = [each.id for each in CASES]
    assert len(set(ids)) == len(ids)
