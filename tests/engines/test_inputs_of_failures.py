"""A failure says which input it was about, on every runner, and where Prefect shows the run."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from prefect import flow, task, unmapped
from prefect.settings import PREFECT_UI_URL, temporary_settings

from prefect_anyrunner import Report, Status, TaskRunsFailed, gather, settle
from tests.engines.four_runners import OURS

pytestmark = pytest.mark.parametrize("kind", OURS)


@task
def length(day: str) -> int:
    return len(day)


@task(task_run_name="load-{day}")
def load(day: str, token: str, size: int) -> None:
    if day == "wed":
        raise ValueError("closed")


@task
def leaves(day: str) -> None:
    sys.exit(3)


@task
def parse(row: int) -> None:
    if row % 2:
        raise ValueError(f"row {row}: cannot parse")


def failures_of(runner: Any) -> Report:
    @flow(task_runner=runner)
    def nightly() -> Report:
        days = ["mon", "tue", "wed"]
        return settle([*load.map(days, unmapped("t0p"), length.map(days)), leaves.submit("thu")])

    return nightly()


def test_a_failure_says_its_input_and_its_name_and_its_page(runner: Any) -> None:
    with temporary_settings({PREFECT_UI_URL: "http://ui.example.com"}):
        report = failures_of(runner)
        failed, crashed = report.failures
        assert crashed.status is Status.CRASHED
        assert crashed.inputs == "day='thu'"
        # What is mapped comes first. A result that a worker keeps is not fetched for this.
        assert failed.inputs in ("day='wed', size=3, token=***", "day='wed', size=<result of length>, token=***")
        assert [outcome.inputs for outcome in report[:2]] == ["", ""]

        page = f"http://ui.example.com/runs/task-run/{failed.task_run_id}"
        shown = f"load[2] {failed.inputs} (load-wed)  {page}"
        assert shown in report.summary()
        record = json.loads(report.to_json())["outcomes"][2]
        assert (record["inputs"], record["task_run_name"], record["url"]) == (failed.inputs, "load-wed", page)
        with pytest.raises(TaskRunsFailed) as raised:
            report.raise_for_failures()
        (note,) = raised.value.exceptions[0].__notes__
        assert f"load[2] {failed.inputs}, named 'load-wed', on " in note
        assert note.endswith(page)


def test_the_state_of_the_flow_says_why(runner: Any) -> None:
    @flow(task_runner=runner)
    def nightly() -> None:
        gather(parse.map(range(6)))

    message = str(nightly(return_state=True).message)
    assert "TaskRunsFailed: 3 of 6 task runs failed: 3 ValueError: row 1: cannot parse (parse[1], parse[3]" in message
