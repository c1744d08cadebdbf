"""A result that cannot be rebuilt where it arrives fails its run, on every runner, as often as somebody asks for it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from prefect import flow, task

from prefect_anyrunner import CannotTravel, Report, Status, TaskRunsFailed, gather, pick, settle
from prefect_anyrunner.conformance.checks import shown

SIZES = [10, 400_000]
"""Bytes of a result that is sent at once, and of one that stays on its Dask worker until somebody asks for it."""


class Refusing:
    def __init__(self, size: int) -> None:
        self.content = bytes(size)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it refuses to be rebuilt")


@task
def refuse(size: int) -> Refusing:
    return Refusing(size)


@task
def use(value: Any) -> str:
    return type(value).__name__


@pytest.fixture(
    params=[
        "thread://?portable=true",
        "process://?max_workers=2",
        pytest.param("dask", marks=pytest.mark.dask),
        pytest.param("ray", marks=pytest.mark.ray),
    ]
)
def spec(request: pytest.FixtureRequest, prefect_server: str) -> str:
    if request.param == "dask":
        address: str = request.getfixturevalue("dask_cluster")
        return address.replace("tcp://", "dask://")
    if request.param == "ray":
        request.getfixturevalue("ray_head")
    return str(request.param)


def text_of(asking: Any) -> str:
    """Return the text of the error that `asking` raises, alone or as the one member of a group."""
    with pytest.raises((CannotTravel, TaskRunsFailed)) as raised:
        asking()
    errors = raised.value.exceptions if isinstance(raised.value, TaskRunsFailed) else (raised.value,)
    assert [type(error) for error in errors] == [CannotTravel]
    return str(errors[0])


@pytest.mark.parametrize("size", SIZES)
def test_it_is_failed_as_often_as_one_asks(spec: str, size: int) -> None:
    @flow(task_runner=pick(spec))
    def refusing() -> tuple[Any, Report]:
        future: Any = refuse.submit(size)
        texts = {text_of(ask) for ask in [future.result] * 3 + [lambda: gather(future)] * 2}
        texts |= {text_of(lambda: gather([future])), text_of(settle(future).results)}
        (text,) = texts
        assert "result of task 'refuse' cannot be rebuilt" in text
        assert "it refuses to be rebuilt" in text
        assert isinstance(future.result(raise_on_failure=False), CannotTravel)
        assert future.state.is_failed()
        assert future.state.message == text
        dependent = settle([use.submit(future), use.submit("", wait_for=[future])])  # type: ignore[call-overload]
        assert [each.status for each in dependent] == [Status.BLOCKED] * 2
        assert [each.upstream for each in dependent] == [(future.task_run_id,)] * 2
        assert all("it refuses to be rebuilt" in str(each.error) for each in dependent)
        report = settle(future)
        assert report == settle(future)
        assert [each.status for each in report] == [Status.FAILED]
        return [future, report]  # type: ignore[return-value]  # a tuple of one future would be waited for

    future, (outcome,) = refusing()
    assert text_of(future.result) == str(outcome.error)
    assert (state := shown(outcome)) is not None
    assert state.is_failed(), state
    assert state.message == str(outcome.error)


@pytest.mark.parametrize("size", SIZES)
def test_a_dependent_run_is_blocked_when_nobody_asked_before(spec: str, size: int) -> None:
    @flow(task_runner=pick(spec))
    def refusing() -> Report:
        future: Any = refuse.submit(size)
        return settle([use.submit(future), future])

    blocked, failed = refusing().fetched()
    assert [blocked.status, failed.status] == [Status.BLOCKED, Status.FAILED]
    assert blocked.upstream == (failed.task_run_id,)


@pytest.mark.parametrize("size", SIZES)
def test_two_threads_that_ask_at_once_are_answered_alike(spec: str, size: int) -> None:
    @flow(task_runner=pick(spec))
    def refusing() -> None:
        future: Any = refuse.submit(size)
        future.wait()
        both, texts = threading.Barrier(2), []

        def ask() -> None:
            both.wait()
            texts.append(text_of(future.result))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(texts) == 2
        assert len(set(texts)) == 1

    refusing()


def test_asked_for_after_the_end_of_the_flow_it_is_failed(spec: str) -> None:
    kept: list[Any] = []

    @flow(task_runner=pick(spec))
    def refusing() -> None:
        future: Any = refuse.submit(SIZES[-1])
        future.wait()
        kept.append(future)

    refusing()
    (future,) = kept
    assert "it refuses to be rebuilt" in text_of(future.result)
    assert text_of(future.result) == text_of(lambda: gather(future))
    (outcome,) = settle(future)
    assert outcome.status is Status.FAILED
    assert (state := shown(outcome)) is not None
    assert state.is_failed(), state
