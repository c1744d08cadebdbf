"""Runs that the stock runners lose, or misreport, still get true outcomes."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from prefect.exceptions import CancelledRun, CrashedRun

from prefect_anyrunner import Status, settle
from tests.stock import stock_tasks as tasks
from tests.stock.stock_runners import Runner, dask_runner, only, process_runner, ray_runner, submitted, thread_runner


def test_a_result_that_cannot_be_pickled_crashes_its_run(runner: Runner, kind: str) -> None:
    outcome = only(submitted(runner, tasks.returns_lock))
    if kind == "thread":
        assert outcome.status is Status.COMPLETED
        return
    assert outcome.status is Status.CRASHED
    assert isinstance(outcome.error, CrashedRun)
    assert isinstance(outcome.error.__cause__, TypeError)
    # The stock runners report another state to the API, so the error names both.
    assert "the Prefect API has it as Completed" in str(outcome.error)


def test_an_exception_that_cannot_be_rebuilt_is_described(runner: Runner, kind: str) -> None:
    outcome = only(submitted(runner, tasks.two_arguments))
    if kind == "thread":
        assert isinstance(outcome.error, tasks.TwoArguments)
        assert outcome.error.code == 7
    elif outcome.status is Status.FAILED:  # prefect-dask's global reducers are at work in this process
        assert isinstance(outcome.error, tasks.TwoArguments)
    else:
        assert outcome.status is Status.CRASHED
        assert "missing 1 required positional argument" in str(outcome.error)
        assert "TwoArguments: 7: seven" in str(outcome.error)


def test_a_worker_that_dies_crashes_the_whole_process_pool(prefect_server: str) -> None:
    with process_runner() as runner:
        futures = [submitted(runner, tasks.dies), submitted(runner, tasks.double, number=1)]
        outcomes = settle(futures, timeout=100)
        assert [outcome.status for outcome in outcomes] == [Status.CRASHED, Status.CRASHED]
        assert "BrokenProcessPool" in str(outcomes[0].error)
        assert type(outcomes[0].error.__cause__).__name__ == "BrokenProcessPool"  # type: ignore[union-attr]


@pytest.mark.parametrize("task", [tasks.exits, tasks.interrupts, tasks.own_base])
def test_a_base_exception_does_not_end_the_flow_on_threads(task: Any, prefect_server: str) -> None:
    with thread_runner() as runner:
        outcome = only(submitted(runner, task))
        assert outcome.status is Status.CRASHED
        assert isinstance(outcome.error, CrashedRun)
        assert outcome.error.__cause__ is not None
        assert not isinstance(outcome.error.__cause__, Exception)
        assert type(outcome.error.__cause__).__name__ in str(outcome.error)


def test_ctrl_c_ends_the_wait_and_not_the_run(prefect_server: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with thread_runner() as runner:
        future = submitted(runner, tasks.waits_for_file, path=str(go))
        timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            settle(future)
        timer.join()
        go.touch()
        assert only(future).status is Status.COMPLETED


# The exception of the body ends the pool's own thread. Because of that, the pool's futures never end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_process_future_that_never_ends_gets_its_outcome_from_the_api(prefect_server: str) -> None:
    """The stock future never ends after a `BaseException`, but the API has the run's end."""
    with process_runner() as runner:
        outcome = only(submitted(runner, tasks.exits))
        assert outcome.status is Status.CRASHED
        assert "exit" in str(outcome.error)


@pytest.mark.ray
def test_own_base_exceptions_crash_their_run_on_ray(ray_head: str) -> None:
    with ray_runner() as runner:
        outcome = only(submitted(runner, tasks.own_base))
        assert outcome.status is Status.CRASHED
        assert isinstance(outcome.error, CrashedRun)
        assert isinstance(outcome.error.__cause__, tasks.OwnBase)
        assert str(outcome.error) == "OwnBase: mine"


@pytest.mark.ray
def test_a_worker_that_dies_on_ray_crashes_its_run_and_blocks_the_next(ray_head: str) -> None:
    with ray_runner() as runner:
        dead = submitted(runner, tasks.dies)
        outcomes = settle([dead, submitted(runner, tasks.add_one, number=dead)], timeout=200)
        assert [outcome.status for outcome in outcomes] == [Status.CRASHED, Status.BLOCKED]
        assert "WorkerCrashedError" in str(outcomes[0].error)
        assert type(outcomes[1].error.__cause__).__name__ == "WorkerCrashedError"  # type: ignore[union-attr]


@pytest.mark.dask
def test_a_worker_that_dies_on_dask_crashes_its_run_and_blocks_the_next(dask_cluster: str) -> None:
    with dask_runner(dask_cluster) as runner:
        dead = submitted(runner, tasks.dies)
        outcomes = settle([submitted(runner, tasks.add_one, number=dead), dead], timeout=200)
        assert [outcome.status for outcome in outcomes] == [Status.BLOCKED, Status.CRASHED]
        assert "KilledWorker" in str(outcomes[1].error)
        assert outcomes[0].upstream == (dead.task_run_id,)
        assert outcomes[0].error.__cause__ is outcomes[1].error  # type: ignore[union-attr]


@pytest.mark.dask
def test_a_run_that_dask_was_asked_to_forget_is_cancelled(dask_cluster: str) -> None:
    with dask_runner(dask_cluster) as runner:
        future = submitted(runner, tasks.double, number=1)
        future.wrapped_future.cancel()
        outcome = only(future)
        assert outcome.status is Status.CANCELLED
        assert isinstance(outcome.error, CancelledRun)
