"""The threads that a thread runner uses."""

from __future__ import annotations

import threading

import pytest
from prefect import flow, task

from prefect_anyrunner import gather, pick

pytestmark = pytest.mark.usefixtures("prefect_server")


@task
def own_thread(number: int) -> int:
    return threading.get_ident()


def test_no_more_threads_than_workers() -> None:
    @flow(task_runner=pick("thread://?max_workers=2"))
    def mapping() -> list[str]:
        before = set(threading.enumerate())
        gather(own_thread.map(range(40)))
        return [each.name for each in set(threading.enumerate()) - before if each.name.startswith("ThreadPoolExecutor")]

    assert len(mapping()) <= 2
