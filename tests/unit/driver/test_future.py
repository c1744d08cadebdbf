"""A future that others wrap."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from prefect_anyrunner import Outcome, Status
from prefect_anyrunner._driver.future import AnyFuture


def test_a_wait_that_is_given_up_does_not_end_the_run() -> None:
    future: AnyFuture[int] = AnyFuture(uuid.uuid4(), task_name="load", runner_name="thread")

    async def wait_a_little() -> None:
        await asyncio.wait_for(asyncio.wrap_future(future.wrapped_future), 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(wait_a_little())
    assert future.outcome() is None
    assert future.resolve(Outcome(task_name="load", task_run_id=future.task_run_id, status=Status.COMPLETED))
    assert future.outcome() is not None
