"""Waiting for futures of the stock runners: timeouts, async waits, policies."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import UnfinishedRun
from prefect.futures import PrefectFlowRunFuture
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Running

from prefect_anyrunner import Status, TaskRunsFailed, agather, as_settled, asettle, settle
from tests.stock import stock_tasks as tasks
from tests.stock.stock_runners import Runner, mapped, only, submitted, thread_runner


def test_our_timeout_leaves_the_run_alone(runner: Runner, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow, quick = submitted(runner, tasks.waits_for_file, path=str(go)), submitted(runner, tasks.double, number=1)
    only(quick)
    late, done = settle([slow, quick], timeout=0.05)
    assert (late.status, done.status) == (Status.UNFINISHED, Status.COMPLETED)
    assert isinstance(late.error, UnfinishedRun)
    go.touch()
    assert only(slow).value == str(go)


def test_a_run_that_has_ended_needs_no_wait(runner: Runner) -> None:
    future = submitted(runner, tasks.double, number=4)
    future.wait()
    assert only(future, timeout=0).value == 8


def test_settling_twice_gives_equal_reports(runner: Runner) -> None:
    futures = mapped(runner, tasks.odd_fails, {"number": range(2)})
    assert settle(futures) == settle(futures)


def test_outcomes_come_as_runs_end(runner: Runner, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow, quick = submitted(runner, tasks.waits_for_file, path=str(go)), submitted(runner, tasks.double, number=1)
    outcomes = iter(as_settled([slow, quick, slow]))
    assert next(outcomes).index == 1
    go.touch()
    assert [outcome.index for outcome in outcomes] == [0, 2]


def test_async_waits_do_not_block_the_loop(runner: Runner, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow = submitted(runner, tasks.waits_for_file, path=str(go))

    async def main() -> None:
        waiting = asyncio.create_task(agather([slow]))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        go.touch()  # this line is reached only if the loop goes on
        assert await waiting == [str(go)]
        assert [outcome.value async for outcome in as_settled([slow])] == [str(go)]

    asyncio.run(asyncio.wait_for(main(), 100))


def test_a_cancelled_async_wait_ends(runner: Runner, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow = submitted(runner, tasks.waits_for_file, path=str(go))

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asettle([slow]), 0.1)

    asyncio.run(main())
    go.touch()
    assert only(slow).status is Status.COMPLETED


def test_a_policy_withdraws_runs_that_have_not_started_on_threads(prefect_server: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with thread_runner(2) as runner:
        started = submitted(runner, tasks.waits_for_file, path=str(go))
        failing = submitted(runner, tasks.odd_fails, number=1)
        only(failing)
        blocker = submitted(runner, tasks.waits_for_file, path=str(go))
        queued = [submitted(runner, tasks.double, number=n) for n in range(3)]
        go_later = threading.Timer(0.5, go.touch)
        go_later.start()
        report = settle([failing, started, blocker, *queued], policy="then=drain")
        go_later.join()
    assert [outcome.status for outcome in report] == ["failed", "completed", "completed", *["cancelled"] * 3]
    with pytest.raises(TaskRunsFailed, match="3 cancelled because of them") as raised:
        report.raise_for_failures()
    assert len(raised.value.exceptions) == 1


@pytest.mark.parametrize("problem", [httpx.ConnectError("refused"), 503], ids=["refused", "503"])
@pytest.mark.parametrize("kind", ["flow run", "run of a task worker"])
def test_an_api_that_cannot_answer_ends_no_run(
    kind: str, problem: Exception | int, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @flow
    def nightly() -> None: ...

    future: Any
    end: Any
    with get_client(sync_client=True) as client:
        if kind == "flow run":
            run_id = client.create_flow_run(nightly, state=Running()).id
            future, end = PrefectFlowRunFuture(run_id), client.set_flow_run_state
        else:
            future, end = tasks.double.delay(number=1), client.set_task_run_state
            run_id = future.task_run_id

        def fail(_: object, request: httpx.Request, **options: object) -> httpx.Response:
            if isinstance(problem, Exception):
                raise problem
            return httpx.Response(problem, request=request)

        async def fail_async(_: object, request: httpx.Request, **options: object) -> httpx.Response:
            return fail(_, request)

        with monkeypatch.context() as unreachable, temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            unreachable.setattr(httpx.Client, "send", fail)
            unreachable.setattr(httpx.AsyncClient, "send", fail_async)
            assert only(future, timeout=0.05).status is Status.UNFINISHED
            assert only(future, timeout=0).status is Status.UNFINISHED
        end(run_id, Cancelled(), force=True)
        assert only(future).status is Status.CANCELLED
