"""A runner for a test that is parametrized by its `kind`."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.task_runners import TaskRunner

from tests.engines.four_runners import made


@pytest.fixture
def address(kind: str, prefect_server: str, request: pytest.FixtureRequest) -> str:
    engine = {"dask": "dask_cluster", "ray": "ray_head"}.get(kind)
    found: str = request.getfixturevalue(engine) if engine is not None else ""
    return found


@pytest.fixture
def runner(kind: str, address: str) -> TaskRunner[Any]:
    return made(kind, address)
