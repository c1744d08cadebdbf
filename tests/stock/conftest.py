"""The stock runners, started once for each file. Their tests are slow: they take minutes to give up a dead worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stock.stock_runners import Runner, made

RUNNERS = [
    "thread",
    "process",
    pytest.param("dask", marks=pytest.mark.dask),
    pytest.param("ray", marks=pytest.mark.ray),
]


@pytest.fixture(scope="module", params=RUNNERS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def runner(kind: str, prefect_server: str, request: pytest.FixtureRequest) -> Iterator[Runner]:
    with made(kind, request) as started:
        yield started


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test of this folder as slow, so that only `make test-all` runs it."""
    item.add_marker(pytest.mark.slow)
