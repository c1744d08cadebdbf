"""A run that the engine did not take has not started: it uses up no rerun and has no child that lost its parent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from prefect import flow, task
from prefect.context import FlowRunContext

from prefect_anyrunner import Outcome, Status, gather, settle


@task
def double(number: int) -> int:
    return 2 * number


@contextmanager
def broken_client(runner: Any) -> Iterator[None]:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("nothing is taken")

    working, runner._client.map = runner._client.map, refuse
    try:
        yield
    finally:
        runner._client.map = working


def impossible_options(runner: Any) -> AbstractContextManager[None]:
    import prefect_ray

    context: AbstractContextManager[None] = prefect_ray.context.remote_options(num_cpus=-1)
    return context


@pytest.mark.parametrize(
    ("kind", "refusing"),
    [
        pytest.param("dask", broken_client, marks=pytest.mark.dask),
        pytest.param("ray", impossible_options, marks=pytest.mark.ray),
    ],
)
def test_run_that_was_not_sent_has_not_started(
    runner: Any, refusing: Callable[[Any], AbstractContextManager[None]]
) -> None:
    runner.rerun_lost = 1

    @flow(task_runner=runner)
    def doubling() -> tuple[Outcome, list[Any]]:
        assert gather(double.submit(1)) == 2
        context = FlowRunContext.get()
        started: Any = context and context.task_runner
        with refusing(started):
            (outcome,) = settle(double.submit(2))
        return outcome, list(started.ledger.lost_parents)

    outcome, lost_parents = doubling()
    assert (outcome.status, outcome.attempts) == (Status.CRASHED, 1)
    assert "it could not be" in str(outcome.error)
    assert lost_parents == []
