"""Tasks on Dask that submit tasks: a task that waits gives its place to a new thread, which costs nothing for good."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from prefect import flow, task

pytestmark = pytest.mark.dask


@task
def double(number: int) -> int:
    return 2 * number


@task
def quadruple(number: int) -> int:
    half: Any = double.submit(number)
    return 2 * int(half.result())


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
