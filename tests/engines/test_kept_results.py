"""Large results on Dask stay on their worker until asked for; lost with it, that is said and nothing runs again."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.exceptions import CrashedRun, MissingResult

from prefect_anyrunner import Outcome, Report, Status, TaskRunsFailed, agather, gather, settle
from prefect_anyrunner._outcomes.lazy_value import LazyValue
from prefect_anyrunner.conformance.checks import shown

pytestmark = pytest.mark.dask
SIZE = 2**20


@task
def large(folder: str) -> bytes:
    with (Path(folder) / "pids").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return bytes(SIZE)


@task
def use(value: Any) -> int:
    return len(value)


class TakesItsTime:
    """A large value. Loading it in the process of the flow begins by setting `begun`, and ends once `turned` is set."""

    begun: threading.Event | None = None
    turned: threading.Event | None = None

    def __init__(self) -> None:
        self.filling = bytes(SIZE)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        if self.begun is not None and self.turned is not None:
            self.begun.set()
            assert self.turned.wait(60), "the event loop did not turn while the value was loaded"


@task
def takes_its_time() -> TakesItsTime:
    return TakesItsTime()


def is_kept(outcome: Outcome) -> bool:
    held = outcome._value
    return isinstance(held, LazyValue) and held._load is not None


def runner(address: str) -> Any:
    from prefect_anyrunner.backends.dask import DaskTaskRunner

    return DaskTaskRunner(address=address)


def test_it_comes_when_asked_for_or_when_the_flow_ends(dask_cluster: str, tmp_path: Path) -> None:
    @flow(task_runner=runner(dask_cluster))
    def keeping() -> list[Report]:
        report = settle(large.submit(str(tmp_path)) for _ in range(3))
        assert report.ok
        assert all(map(is_kept, report))
        assert report[0].value == bytes(SIZE)
        assert [is_kept(outcome) for outcome in report] == [False, True, True]
        return [report]

    (report,) = keeping()
    assert report.results() == [bytes(SIZE)] * 3
    assert len((tmp_path / "pids").read_text().split()) == 3


def test_lost_with_its_worker_it_is_missing_and_not_made_again(dask_cluster: str, tmp_path: Path) -> None:
    @flow(task_runner=runner(dask_cluster))
    def losing() -> Report:
        future: Any = large.submit(str(tmp_path))
        (outcome,) = report = settle(future)
        assert is_kept(outcome)
        assert report.ok
        os.kill(int((tmp_path / "pids").read_text()), signal.SIGKILL)
        with pytest.raises(MissingResult, match="lost with the Dask worker"):
            _ = outcome.value
        for asking in (report.results, lambda: gather(future)):
            with pytest.raises(TaskRunsFailed) as failed:
                asking()
            (error,) = failed.value.exceptions
            assert isinstance(error, CrashedRun)
            assert isinstance(error.__cause__, MissingResult)
            assert [each.status for each in failed.value.outcomes] == [Status.CRASHED]
        assert report.results(default="none") == ["none"]
        with pytest.raises(CrashedRun, match="lost with the Dask worker"):
            future.result()
        assert future.state.is_crashed()
        blocked = settle([use.submit(future), use.submit("", wait_for=[future])])  # type: ignore[call-overload]
        assert [each.status for each in blocked] == [Status.BLOCKED] * 2
        assert [each.upstream for each in blocked] == [(future.task_run_id,)] * 2
        again = settle(future)
        assert again == settle(future)
        assert not again.ok
        return again

    (outcome,) = losing()
    assert (state := shown(outcome)) is not None
    assert state.is_crashed(), state
    assert len((tmp_path / "pids").read_text().split()) == 1


def test_lost_before_anything_was_asked_of_it_a_downstream_run_is_blocked(dask_cluster: str, tmp_path: Path) -> None:
    @flow(task_runner=runner(dask_cluster))
    def losing() -> Report:
        future: Any = large.submit(str(tmp_path))
        assert settle(future).ok
        os.kill(int((tmp_path / "pids").read_text()), signal.SIGKILL)
        return settle(use.submit(future))

    (outcome,) = losing()
    assert outcome.status is Status.BLOCKED
    assert "lost with the Dask worker" in str(outcome.error)


def test_the_event_loop_turns_while_agather_fetches_it(dask_cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, turned = threading.Event(), threading.Event()
    monkeypatch.setattr(TakesItsTime, "begun", begun)
    monkeypatch.setattr(TakesItsTime, "turned", turned)

    async def turn() -> None:
        await asyncio.to_thread(begun.wait)
        turned.set()

    @flow(task_runner=runner(dask_cluster))
    async def awaiting() -> int:
        turning = asyncio.create_task(turn())
        value = await agather(takes_its_time.submit())
        await turning
        return len(value.filling)

    assert asyncio.run(awaiting()) == SIZE
