"""A runner for a test that is parametrized by its `kind`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prefect.task_runners import TaskRunner

from tests.conftest import shared
from tests.engines.four_runners import made
from tests.engines.own_server import OwnServer


@pytest.fixture(scope="session")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """A server beside that of the other tests; a test that ends it starts it again."""
    server = OwnServer(tmp_path_factory.mktemp("own_server"))
    server.start()
    with shared("own_server") as stack:
        stack.callback(server.stop)
        yield server


@pytest.fixture
def address(kind: str, prefect_server: str, request: pytest.FixtureRequest) -> str:
    engine = {"dask": "dask_cluster", "ray": "ray_head"}.get(kind)
    found: str = request.getfixturevalue(engine) if engine is not None else ""
    return found


@pytest.fixture
def runner(kind: str, address: str) -> TaskRunner[Any]:
    return made(kind, address)
