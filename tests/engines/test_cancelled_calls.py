"""A cancelled body is interrupted wherever it is, as far as its runner can (rule K1)."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.task_runners import TaskRunner

from prefect_anyrunner import Status, settle
from tests.engines.files import until_there
from tests.engines.four_runners import OURS


@task
async def waits_in_its_loop(started: Path) -> None:
    asyncio.get_running_loop().call_soon(started.touch)
    await asyncio.Event().wait()


@task
def waits_in_a_loop_of_its_own(started: Path) -> None:
    async def wait() -> None:
        asyncio.get_running_loop().call_soon(started.touch)
        await asyncio.Event().wait()

    asyncio.run(wait())


@task
def sleeps_in_one_call(started: Path) -> None:
    started.touch()
    time.sleep(3600)


@task
def waits_for_an_event(started: Path) -> None:
    started.touch()
    threading.Event().wait()


@task
def waits_again_and_again(started: Path) -> None:
    over = threading.Event()
    started.touch()
    while not over.wait(1):
        pass


@task
def catches_the_first_time(started: Path) -> None:
    try:
        started.touch()
        while True:
            time.sleep(0.01)
    except BaseException:
        started.with_suffix(".caught").touch()
    while True:
        time.sleep(0.01)


@pytest.mark.parametrize("kind", OURS)
def test_a_coroutine_that_waits_is_cancelled(runner: TaskRunner[Any], tmp_path: Path) -> None:
    assert cancelled(runner, waits_in_its_loop, tmp_path / "started") is Status.CANCELLED


@pytest.mark.parametrize("kind", OURS[1:2] + OURS[3:])  # Python cannot interrupt a call into C in a thread
@pytest.mark.parametrize("body", [waits_in_a_loop_of_its_own, sleeps_in_one_call], ids=lambda each: each.name)
def test_a_call_into_c_is_interrupted(runner: TaskRunner[Any], body: Any, tmp_path: Path) -> None:
    assert cancelled(runner, body, tmp_path / "started") is Status.CANCELLED


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("body", [waits_for_an_event, waits_again_and_again], ids=lambda each: each.name)
def test_a_body_that_waits_for_another_thread_is_interrupted(
    runner: TaskRunner[Any], body: Any, tmp_path: Path
) -> None:
    assert cancelled(runner, body, tmp_path / "started") is Status.CANCELLED


@pytest.mark.parametrize("kind", OURS[3:])
def test_a_second_request_interrupts_a_body_that_has_caught_the_first(runner: TaskRunner[Any], tmp_path: Path) -> None:
    started, caught = tmp_path / "started", tmp_path / "started.caught"

    @flow(task_runner=runner)
    def cancelling() -> Status:
        future: Any = catches_the_first_time.submit(started)
        until_there(started)
        future.cancel()
        until_there(caught)
        while settle(future, timeout=1.5)[0].status is Status.UNFINISHED:
            future.cancel()
        return settle(future)[0].status

    assert cancelling() is Status.CANCELLED


def cancelled(runner: TaskRunner[Any], body: Any, started: Path) -> Status:
    """Return how a run of `body` has ended that was cancelled once it had started."""

    @flow(task_runner=runner)
    def cancelling() -> Status:
        future = body.submit(started)
        until_there(started)
        future.cancel()
        return settle(future)[0].status

    status: Status = cancelling()
    return status
