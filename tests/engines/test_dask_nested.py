"""Tasks on Dask that submit tasks: a task that waits gives its place to a new thread, which costs nothing for good."""

from __future__ import annotations

import decimal
import threading
from typing import Any

import pytest
from prefect import flow, task

from prefect_anyrunner import gather, settle

pytestmark = pytest.mark.dask


@task
def double(number: int) -> int:
    return 2 * number


@task
def quadruple(number: int) -> int:
    half: Any = double.submit(number)
    return 2 * int(half.result())


@task
def precision() -> int:
    return decimal.getcontext().prec  # kept in a context variable


@task
def wait_with_precision(digits: int) -> Any:
    decimal.setcontext(decimal.Context(prec=digits))
    future: Any = precision.submit()
    return future.result()


def threads_of_runners() -> int:
    return sum(thread.name.startswith("anyrunner-dask") for thread in threading.enumerate())


def test_what_a_waiting_task_needs_is_used_again(dask_cluster: str) -> None:
    import distributed

    from prefect_anyrunner.backends.dask import DaskTaskRunner

    @flow(task_runner=DaskTaskRunner(address=dask_cluster))
    def one_after_the_other() -> int:
        with distributed.Client(dask_cluster) as client:  # type: ignore[no-untyped-call]
            before = sum(client.run(threads_of_runners).values())
            for number in range(30):
                assert quadruple.submit(number).result() == 4 * number
            after = sum(client.run(threads_of_runners).values())
            return int(after - before)

    # On each of two workers at most two runners, that of a task and of the one it waits for, with two threads each.
    assert one_after_the_other() <= 8


def test_what_runs_in_the_place_of_a_waiting_task_is_no_part_of_it(dask_cluster: str) -> None:
    from prefect_anyrunner.backends.dask import DaskTaskRunner

    @flow(task_runner=DaskTaskRunner(address=dask_cluster))
    def several() -> list[int]:
        digits: list[int] = gather(wait_with_precision.map(range(3, 13)))
        return digits

    assert set(several()) == {decimal.getcontext().prec}


@task
def double_after_a_refused_run(number: int) -> int:
    lock: Any = threading.Lock()
    refused: Any = double.submit(lock)  # an argument that cannot be pickled ends its run at once
    assert refused.outcome() is not None
    doubled: int = settle([refused, double.submit(number)])[1].value
    return doubled


def test_a_waiting_task_releases_its_worker_although_its_first_run_has_ended(dask_cluster: str) -> None:
    from prefect_anyrunner.backends.dask import DaskTaskRunner

    @flow(task_runner=DaskTaskRunner(address=dask_cluster))
    def more_than_workers() -> list[int]:
        results: list[int] = gather(double_after_a_refused_run.map(range(10)))
        return results

    assert more_than_workers() == [2 * number for number in range(10)]
