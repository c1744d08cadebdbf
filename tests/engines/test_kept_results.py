"""Large results on Dask stay on their worker until asked for; lost with it, that is said and nothing runs again."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.exceptions import MissingResult

from prefect_anyrunner import Outcome, Report, settle
from prefect_anyrunner._outcome import LazyValue

pytestmark = pytest.mark.dask
SIZE = 2**20


@task
def large(folder: str) -> bytes:
    with (Path(folder) / "pids").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return bytes(SIZE)


def is_kept(outcome: Outcome) -> bool:
    held = outcome._value
    return isinstance(held, LazyValue) and held._make is not None


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
    def losing() -> None:
        (outcome,) = settle(large.submit(str(tmp_path)))
        assert is_kept(outcome)
        os.kill(int((tmp_path / "pids").read_text()), signal.SIGKILL)
        with pytest.raises(MissingResult, match="lost with the Dask worker"):
            _ = outcome.value

    losing()
    assert len((tmp_path / "pids").read_text().split()) == 1
