"""The watch of a flow run whose API does not answer."""

from __future__ import annotations

import logging
import socket
import threading
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Running
from prefect.types._datetime import now

from prefect_anyrunner._driver import flow_watch
from prefect_anyrunner._driver.flow_watch import FlowWatch


@flow
def part() -> None:
    """Do nothing; it stands for a subflow."""


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


def test_a_flow_run_is_cancelled_although_the_api_does_not_know_what_it_is_part_of(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_watch, "SECONDS", 0.01)
    cancelled = threading.Event()
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(part, state=Running())
        flow_run.parent_task_run_id = uuid4()  # its event has not arrived
        watch = FlowWatch(cancelled.set, logging.getLogger(__name__))
        with FlowRunContext.model_construct(flow_run=flow_run, start_time=now()):
            watch.begin()
        client.set_flow_run_state(flow_run.id, Cancelling(), force=True)
        assert cancelled.wait(20)
        watch.end()
        assert client.read_flow_run(flow_run.id).state_name == "Cancelled"
