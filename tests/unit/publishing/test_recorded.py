"""Ends that the API has not recorded, and ends that it ignores because it has a later state."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Cancelled, Completed, Running

from prefect_anyrunner._prefect.models import copy_with
from prefect_anyrunner._publishing import recorded
from tests.unit.publishing.test_change import ended


def in_api(monkeypatch: pytest.MonkeyPatch, *found: TaskRun) -> Any:
    monkeypatch.setattr(recorded, "by_id", lambda client, ids: iter(found))
    return None


def test_an_end_is_sent_again_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    never_seen, recorded_before, running = ended(Cancelled()), ended(Completed()), ended(Completed())
    before: State[Any] = Running(timestamp=running.state.timestamp - timedelta(seconds=1))
    client = in_api(
        monkeypatch,
        copy_with(recorded_before.task_run, {"state": recorded_before.state}),
        copy_with(running.task_run, {"state": before}),
    )
    assert recorded.missing_ends(client, [never_seen, recorded_before, running]) == [never_seen, running]


def test_an_end_that_a_later_state_hides_gets_a_later_time(monkeypatch: pytest.MonkeyPatch) -> None:
    end = ended(Cancelled(message="It was cancelled while it ran."))
    later: State[Any] = Running(timestamp=end.state.timestamp + timedelta(milliseconds=30))
    client = in_api(monkeypatch, copy_with(end.task_run, {"state": later}))
    (again,) = recorded.missing_ends(client, [end])
    assert again.state.is_cancelled() and again.state.message == end.state.message
    assert again.state.timestamp > later.timestamp
    assert again.state.id != end.state.id  # an event with a known id is ignored
    assert again.run_id == end.run_id
