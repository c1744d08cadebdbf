"""One Prefect server, one Dask cluster and one Ray for a whole test run, each started when a test first asks for it.

They are stopped when the run ends, also after Ctrl-C. A guard stops the server when this process is gone, however it
ended: a test that runs out of time ends the process without any clean-up.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from prefect_anyrunner._provisioning import server
from prefect_anyrunner._provisioning.environment import ray_token
from prefect_anyrunner._provisioning.server import api_url, free_port

ROOT = Path(__file__).parents[1]
HOME = Path(tempfile.mkdtemp(prefix="anyrunner-tests-"))
"""Where Prefect and Ray keep their things during this run, instead of in the user's home folder."""


PORT = free_port()
API = api_url(PORT)

os.environ.update(
    # Prefect reads its settings once, when it is imported; threads of its own see no later change. Where no test asks
    # for the server nobody listens there, so that a unit test that needs one after all does not start its own.
    PREFECT_API_URL=API,
    PREFECT_HOME=str(HOME / "prefect"),
    PREFECT_PROFILES_PATH=str(HOME / "profiles.toml"),
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    PREFECT_LOGGING_TO_API_ENABLED="false",
    PREFECT_LOGGING_LEVEL="CRITICAL",
    DO_NOT_TRACK="1",
    RAY_USAGE_STATS_ENABLED="0",
    **ray_token(),
    # Workers import the modules of tests by the names that they have here, as `tests.stock.stock_tasks`.
    PYTHONPATH=str(ROOT),
)


SHARED = {"dask_cluster": "dask", "ray_head": "ray", "own_server": ""}
"""The fixtures that several tests share. Two of them have a mark for tests that ask for them only when they run."""
_started: dict[str, ExitStack] = {}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of one fixture in one process under `--dist loadgroup`, so that each starts once."""
    for item in items:
        for fixture, mark in SHARED.items():
            if fixture in getattr(item, "fixturenames", ()) or (mark and item.get_closest_marker(mark)):
                item.add_marker(pytest.mark.xdist_group(fixture))
                break


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop what only the tests of a group share after the last of them: idle engines and servers slow the others down.

    Without `--dist loadgroup` the tests of different groups alternate, and everything runs to the end.
    """
    group = _group_of(item)
    if "PYTEST_XDIST_WORKER" in os.environ and group in _started and group != _group_of(nextitem):
        _started.pop(group).close()


def _group_of(item: pytest.Item | None) -> str:
    mark = item.get_closest_marker("xdist_group") if item is not None else None
    return mark.args[0] if mark is not None else ""


@contextmanager
def shared(fixture: str) -> Iterator[ExitStack]:
    """Yield a stack that is closed after the last test of a group, at the end of the run at the latest."""
    with ExitStack() as stack:
        _started[fixture] = stack
        yield stack


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """A real `prefect server start` on a free port of loopback with a home folder of its own; gives the API's URL."""
    with server.prefect_server(PORT, HOME / "server.log"):
        from prefect.settings import get_current_settings

        assert get_current_settings().api.url == API, "Prefect was imported before its settings were made"
        yield API


@pytest.fixture(scope="session")
def dask_cluster(prefect_server: str) -> Iterator[str]:
    """A `distributed.LocalCluster` of two processes on loopback; gives the address of its scheduler."""
    pytest.importorskip("distributed")
    from prefect_anyrunner import RunnerSpec
    from prefect_anyrunner._choosing.engine import shared_engine

    with shared("dask_cluster") as stack:
        engine = stack.enter_context(shared_engine(RunnerSpec.parse("dask")))
        assert engine.spec.address is not None
        yield engine.spec.address


@pytest.fixture(scope="session")
def ray_head(prefect_server: str) -> Iterator[str]:
    """A Ray of its own with two CPUs, without dashboard; gives the address of its head."""
    ray = pytest.importorskip("ray")
    from prefect_anyrunner import RunnerSpec
    from prefect_anyrunner._choosing.engine import shared_engine

    with shared("ray_head") as stack:
        stack.enter_context(shared_engine(RunnerSpec.parse("ray")))
        yield ray.get_runtime_context().gcs_address
