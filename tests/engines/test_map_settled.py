"""`map_settled` on real engines: lazy, bounded, and telling the same on each runner."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task, unmapped
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MappingLengthMismatch, MappingMissingIterable

from prefect_anyrunner import Report, Status, TaskRunsFailed, gather, map_settled, settle
from prefect_anyrunner._prefect.private import unsent_events
from prefect_anyrunner._waiting import map_inputs

RUNNERS = [
    "thread",
    "process",
    pytest.param("dask", marks=pytest.mark.dask),
    pytest.param("ray", marks=pytest.mark.ray),
    "stock",
]


def make(request: pytest.FixtureRequest, name: str) -> Any:
    match name:
        case "thread":
            from prefect_anyrunner.backends.thread import ThreadPoolTaskRunner

            return ThreadPoolTaskRunner(max_workers=2)
        case "stock":
            from prefect.task_runners import ThreadPoolTaskRunner as Stock

            return Stock(max_workers=2)
        case "process":
            from prefect_anyrunner.backends.process import ProcessPoolTaskRunner

            return ProcessPoolTaskRunner(max_workers=2)
        case "dask":
            from prefect_anyrunner.backends.dask import DaskTaskRunner

            return DaskTaskRunner(address=request.getfixturevalue("dask_cluster"))
        case _:
            from prefect_anyrunner.backends.ray import RayTaskRunner

            request.getfixturevalue("ray_head")
            return RayTaskRunner()


@task
def double(number: int, offset: int = 0) -> int:
    if number % 10 == 7:
        raise ValueError(number)
    return 2 * number + offset


@task
def sum_of_doubles(count: int) -> int:
    return sum(map_settled(double, range(count), window=3, keep_values=True).results())


@task
def ended(folder: str, number: int) -> int:
    (Path(folder) / str(number)).touch()
    return number


def in_flow(runner: Any, body: Any) -> Any:
    @flow(task_runner=runner)
    def mapping() -> list[Any]:
        return [body()]

    return mapping()[0]


@pytest.mark.parametrize("name", RUNNERS)
def test_every_input_has_its_outcome(request: pytest.FixtureRequest, prefect_server: str, name: str) -> None:
    seen: list[tuple[int, int, int | None]] = []

    def numbers() -> Iterator[int]:
        yield from range(25)

    report: Report = in_flow(
        make(request, name),
        lambda: map_settled(
            double,
            numbers(),
            offset=unmapped(1),
            window=6,
            keep_values=True,
            progress=lambda *counts: seen.append(counts),
        ),
    )
    assert [outcome.index for outcome in report] == list(range(25))
    assert report.counts == {Status.COMPLETED: 23, Status.FAILED: 2}
    assert report.results(default=None) == [None if n % 10 == 7 else 2 * n + 1 for n in range(25)]
    assert [(each.path, each.error.args) for each in report.failures if each.error] == [((7,), (7,)), ((17,), (17,))]
    assert seen[-1] == (25, 2, None)
    with pytest.raises(TaskRunsFailed, match="2 of 25 task runs failed") as caught:
        report.raise_for_failures()
    assert len(caught.value.exceptions) == 2


@pytest.mark.parametrize("name", RUNNERS)
def test_no_more_than_the_window_is_read_ahead(
    request: pytest.FixtureRequest, prefect_server: str, tmp_path: Path, name: str
) -> None:
    ahead: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(20):
            ahead.append(number - len(list(tmp_path.iterdir())))
            yield number

    report: Report = in_flow(
        make(request, name), lambda: map_settled(ended, unmapped(str(tmp_path)), numbers(), window=4)
    )
    assert report.ok
    assert len(report) == 20
    assert max(ahead) < 4  # what was read and has not ended, the one being read left out


@pytest.mark.parametrize("name", RUNNERS[:-1])  # stock threads that wait for one another wait for ever
def test_a_task_can_map_too(request: pytest.FixtureRequest, prefect_server: str, name: str) -> None:
    report: Report = in_flow(
        make(request, name), lambda: map_settled(sum_of_doubles, [5, 6, 7, 5], window=4, keep_values=True)
    )
    assert report.results() == [20, 30, 42, 20]


@pytest.mark.parametrize("then", ["drain", "cancel"])
def test_too_many_failures_stop_the_reading(prefect_server: str, request: pytest.FixtureRequest, then: str) -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        while True:
            read.append(7)
            yield 7

    report: Report = in_flow(
        make(request, "thread"),
        lambda: map_settled(double, numbers(), window=4, policy=f"tolerate=3,then={then}"),
    )
    assert not report.ok
    assert len(report) == len(read) < 40
    assert report.counts[Status.FAILED] >= 4


def test_finish_reads_everything(prefect_server: str, request: pytest.FixtureRequest) -> None:
    report = in_flow(make(request, "thread"), lambda: map_settled(double, [7] * 12, window=2, policy="tolerate=100%"))
    assert report.ok
    assert len(report.failures) == 12


def test_values_are_dropped_unless_asked_for(prefect_server: str, request: pytest.FixtureRequest) -> None:
    report = in_flow(make(request, "thread"), lambda: map_settled(double, range(3)))
    assert [outcome.value for outcome in report] == [None] * 3
    assert all(outcome.task_run_id and outcome.started and outcome.ended and outcome.worker for outcome in report)


def test_what_cannot_be_mapped(prefect_server: str, request: pytest.FixtureRequest) -> None:
    def lengths() -> Iterator[int]:
        yield from (1, 2)

    def body() -> str:
        with pytest.raises(MappingMissingIterable):
            map_settled(double, 1)
        with pytest.raises(MappingLengthMismatch):
            map_settled(double, [1, 2], [1])
        with pytest.raises(MappingLengthMismatch, match="offset ended first"):
            map_settled(double, [1, 2, 3], lengths())
        with pytest.raises(ValueError, match="at least 1"):
            map_settled(double, [1], window=0)
        with pytest.raises(ZeroDivisionError):
            map_settled(double, (1 // n for n in (1, 0)))
        return "all refused"

    assert in_flow(make(request, "thread"), body) == "all refused"


def test_outside_of_a_flow() -> None:
    with pytest.raises(RuntimeError, match="inside a flow"):
        map_settled(double, [1])


def test_a_run_that_takes_long_does_not_stop_the_others(prefect_server: str, request: pytest.FixtureRequest) -> None:
    others_done = threading.Event()

    @task
    def wait_for_others(number: int) -> int:
        if number == 0:
            assert others_done.wait(60)
        return number

    def follow(done: int, failed: int, total: int | None) -> None:
        if done == 29:
            others_done.set()

    report = in_flow(
        make(request, "thread"), lambda: map_settled(wait_for_others, range(30), window=5, progress=follow)
    )
    assert report.counts == {Status.COMPLETED: 30}


@task
def large_number(number: int) -> list[int]:
    return [10**6 + number]


@pytest.mark.parametrize("keep", [False, True])
def test_what_prefect_notes_of_runs_goes_with_their_values(
    prefect_server: str, request: pytest.FixtureRequest, keep: bool
) -> None:
    def body() -> Any:
        flow_run = FlowRunContext.get()
        assert flow_run is not None
        report = map_settled(large_number, range(50), window=20, keep_values=keep)
        assert report.ok
        links = {entry[0].state_details.task_run_id for entry in flow_run.run_results.values()}
        assert len(links) == (50 if keep else 0)
        assert len(flow_run.task_run_assets) == (50 if keep else 0)
        return report

    in_flow(make(request, "thread"), body)


@task
def notes() -> int:
    flow_run, here = FlowRunContext.get(), TaskRunContext.get()
    assert flow_run is not None and here is not None
    return len(flow_run.run_results) + len(flow_run.task_run_assets.keys() - {here.task_run.id})


def test_a_worker_keeps_no_notes_of_runs(prefect_server: str, request: pytest.FixtureRequest) -> None:
    def body() -> Any:
        settle(large_number.map(range(10)))
        return gather([notes.submit() for _ in range(4)])

    assert in_flow(make(request, "process"), body) == [0] * 4


def test_events_that_are_not_sent_yet_hold_submitting_up(
    prefect_server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0
    window = 20

    def look(done: int, failed: int, of: int | None) -> None:
        nonlocal most
        most = max(most, unsent_events())

    monkeypatch.setattr(map_inputs, "_MAX_UNSENT", 30)
    report = in_flow(
        make(request, "thread"), lambda: map_settled(large_number, range(600), window=window, progress=look)
    )
    assert len(report) == 600
    assert most < 30 + 4 * window, "a run has three events, and what is in flight still emits its own"


@pytest.mark.parametrize("patience", [0.0, 0.2])
def test_events_that_nobody_sends_are_not_waited_for_without_end(
    prefect_server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(map_inputs, "unsent_events", lambda: 10**6)
    monkeypatch.setattr(map_inputs, "_STUCK_SECONDS", patience)
    report = in_flow(make(request, "thread"), lambda: map_settled(large_number, range(50), window=20))
    assert report.ok
