"""The four runners on the tests' engines, and the stock threads that set the standard."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.task_runners import TaskRunner

OURS = [
    "thread",
    "process",
    pytest.param("dask", marks=pytest.mark.dask),
    pytest.param("ray", marks=pytest.mark.ray),
]
RUNNERS = ["stock", *OURS]


def made(kind: str, address: str) -> TaskRunner[Any]:
    match kind:
        case "stock":
            from prefect.task_runners import ThreadPoolTaskRunner as Stock

            return Stock(max_workers=2)
        case "thread":
            from prefect_anyrunner.backends.thread import ThreadPoolTaskRunner

            return ThreadPoolTaskRunner(max_workers=2)
        case "process":
            from prefect_anyrunner.backends.process import ProcessPoolTaskRunner

            return ProcessPoolTaskRunner(max_workers=2)
        case "dask":
            from prefect_anyrunner.backends.dask import DaskTaskRunner

            return DaskTaskRunner(address=address)
        case _:
            from prefect_anyrunner.backends.ray import RayTaskRunner

            return RayTaskRunner()
