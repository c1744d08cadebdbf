"""What a runner does about ends that the API has not recorded."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.states import Completed, Running

from prefect_anyrunner._publishing.change import Change
from prefect_anyrunner._publishing.options import EventOptions, Events
from prefect_anyrunner._publishing.publisher import Publisher, Taken
from prefect_anyrunner._publishing.runner_events import RunnerEvents
from prefect_anyrunner._publishing.source import Source
from tests.unit.publishing.test_change import ended, run


def test_a_flow_run_ends_although_no_file_can_keep_what_is_unsent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    events = RunnerEvents(EventOptions(), logging.getLogger(__name__))
    with temporary_settings({PREFECT_HOME: tmp_path / "file" / "home"}):
        events._keep_in_file([Taken(ended(Completed()).pack(), was_sent=False)])
    assert "has not recorded how 1 of 0 task runs ended, and no file could be written to keep it" in caplog.text


def test_a_line_about_waiting_comes_after_seconds_and_not_after_answers() -> None:
    publisher, source = Publisher(), Source(EventOptions())
    source.unrecorded = 1
    thread: Any = threading.current_thread()  # nothing is published here
    publisher._thread = thread
    over = threading.Event()

    def answer() -> None:
        while not over.is_set():
            with publisher._state:
                publisher._state.notify_all()

    answering = threading.Thread(target=answer)
    answering.start()
    try:
        assert publisher.wait(source, 0.3, on_wait=lambda: pytest.fail("a second has not passed")) == 1
    finally:
        over.set()
        answering.join()


@pytest.mark.parametrize("mode", [Events.AUTO, Events.ALL, Events.FINAL])
def test_an_end_names_the_event_before_it_only_if_that_one_is_published(mode: Events) -> None:
    """An automation waits a quarter of an hour for an event that another one names."""
    events = RunnerEvents(EventOptions(mode), logging.getLogger(__name__))
    publisher: Any = Publisher()
    events._publisher = publisher
    task_run = run()
    publisher._thread = threading.current_thread()  # nothing is published here
    running: State[Any] = Running()
    events.changed(Change(task_run, task_run.state, running))
    was_published = publisher._next() is not None
    assert was_published is (mode is not Events.FINAL)
    other = run()
    events.changed(Change(other, other.state, running))
    for each in (task_run, other):
        events.changed(Change(each, running, Completed(), follows=True))
    publisher._behind = True  # what the server has no room for is left out
    kept = [emission.change for emission in iter(publisher._next, None)]
    follows = {change.run_id: change.follows for change in kept if change.is_end}
    assert follows == {task_run.id: was_published, other.id: mode is Events.ALL}
