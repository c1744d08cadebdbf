"""The search for runs whose submitter is gone goes on while there is time, also after a question that failed."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.schemas.objects import TaskRun, TaskRunResult
from prefect.states import Crashed, Running

from prefect_anyrunner._driver import orphans
from prefect_anyrunner._publishing.change import Change

FLOW_RUN = uuid4()


class Events:
    """Collects the changes that are to be published."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def changed(self, change: Change) -> None:
        self.changes.append(change)


class Api:
    """Answers the question for open runs with the next answer, and the later ones with the last."""

    def __init__(self, *answers: list[TaskRun] | httpx.HTTPError) -> None:
        self.answers = list(answers)

    def open_runs(self, flow_run_id: UUID) -> list[TaskRun]:
        assert flow_run_id == FLOW_RUN
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, httpx.HTTPError):
            raise answer
        return answer


def task_run(**facts: Any) -> TaskRun:
    return TaskRun(task_key="load", dynamic_key="0", flow_run_id=FLOW_RUN, **facts)


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> TaskRun:
    monkeypatch.setattr(orphans, "LATE", 0.1)
    return task_run(state=Crashed())


def test_a_question_that_failed_is_asked_again(lost: TaskRun, monkeypatch: pytest.MonkeyPatch) -> None:
    child = task_run(state=Running(), task_inputs={"__parents__": [TaskRunResult(id=lost.id)]})
    monkeypatch.setattr(orphans, "open_runs", Api(httpx.ConnectError("busy"), [child]).open_runs)
    events: Any = Events()
    assert orphans.end_orphans([lost], events) == [child.id]
    assert [change.task_run.id for change in events.changes] == [child.id]


def test_the_error_of_the_last_question_is_raised(lost: TaskRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "open_runs", Api([], httpx.ConnectError("gone")).open_runs)
    events: Any = Events()
    with pytest.raises(httpx.ConnectError, match="gone"):
        orphans.end_orphans([lost], events)
