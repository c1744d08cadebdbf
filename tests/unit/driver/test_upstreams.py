"""The thread that waits for upstream runs ends with its runner."""

from __future__ import annotations

import contextvars
import threading
import uuid
from typing import Any

from prefect_anyrunner import Outcome, Status
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._driver.upstreams import UpstreamWaiter
from tests.unit.publishing.test_change import load
from tests.unit.publishing.test_change import run as made_run


def test_an_upstream_run_that_ends_after_the_runner_has_stopped_starts_no_thread() -> None:
    ready: list[Run] = []
    waiter = UpstreamWaiter("stopped", ready.append, lambda run, error: None)
    upstream: AnyFuture[Any] = AnyFuture(uuid.uuid4(), task_name="load", runner_name="of another flow")
    future: AnyFuture[Any] = AnyFuture(uuid.uuid4(), task_name="load", runner_name="stopped")
    behind = Run(load, made_run(), future, {"day": upstream, "number": 1}, None, contextvars.copy_context())
    waiter.watch(behind)
    waiter.stop()
    upstream.resolve(Outcome(task_name="load", status=Status.COMPLETED))
    assert ready == [behind]
    assert [thread.name for thread in threading.enumerate() if thread.name == "stopped-upstreams"] == []
