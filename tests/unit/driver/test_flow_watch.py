"""The watch of a flow run whose API does not answer."""

from __future__ import annotations

import logging
import socket

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.types._datetime import now

from prefect_anyrunner._driver import flow_watch
from prefect_anyrunner._driver.flow_watch import FlowWatch


@pytest.mark.timeout(30)  # Prefect itself waits longer for an answer
def test_the_end_does_not_wait_for_an_api_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_watch, "SECONDS", 0.01)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.getsockname()[1]}/api"}),
    ):
        watch = FlowWatch(lambda: pytest.fail("nobody has cancelled it"), logging.getLogger(__name__))
        flow_run = FlowRun.model_construct(parent_task_run_id=None)
        with FlowRunContext.model_construct(flow_run=flow_run, start_time=now()):
            watch.begin()
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1)  # the question is under way
            watch.end()
            assert not watch.is_over()
