"""What a runner does about ends that the API has not recorded."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.states import Completed

from prefect_anyrunner._publishing.options import EventOptions
from prefect_anyrunner._publishing.publisher import Publisher, Taken
from prefect_anyrunner._publishing.runner_events import RunnerEvents
from prefect_anyrunner._publishing.source import Source
from tests.unit.publishing.test_change import ended


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
