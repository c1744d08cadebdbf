"""One Prefect server, one Dask cluster and one Ray for a whole test run, each started when a test first asks for it.

They are stopped when the run ends, also after Ctrl-C. The server lives under a guard that stops it when this process is
gone, however it went: a test that runs out of time ends the process without any clean-up.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
START_WITHIN = 120.0
"""Seconds that the server gets to start: it makes its database first, on a machine that may be busy."""

HOME = Path(tempfile.mkdtemp(prefix="anyrunner-tests-"))
"""Where Prefect and Ray keep their things during this run, instead of in the user's home folder."""


def free_port() -> int:
    """Return a port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


PORT = free_port()
API = f"http://127.0.0.1:{PORT}/api"

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
    # Ray keeps a token for its clusters in the user's home folder unless it is given one.
    RAY_AUTH_MODE="token",
    RAY_AUTH_TOKEN=secrets.token_hex(32),
    # Workers import the modules of tests by the names that they have here, as `tests.stock.stock_tasks`.
    PYTHONPATH=str(ROOT),
)


ENGINES = {"dask_cluster": "dask", "ray_head": "ray"}
"""The fixtures that start an engine. Each has the mark of tests that ask for it only when they run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of one engine in one process under `--dist loadgroup`, so that each engine starts once."""
    for item in items:
        for fixture, mark in ENGINES.items():
            if fixture in getattr(item, "fixturenames", ()) or item.get_closest_marker(mark):
                item.add_marker(pytest.mark.xdist_group(fixture))
                break


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


GUARD = """
import os, signal, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
sys.stdin.buffer.read()          # ends when the test process closes it, or is gone
os.killpg(child.pid, signal.SIGTERM)
try:
    child.wait(10)
except subprocess.TimeoutExpired:
    pass
try:
    os.killpg(child.pid, signal.SIGKILL)
except ProcessLookupError:
    pass
"""


@contextlib.contextmanager
def guarded(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in a session of its own until the block ends or this process does; its output goes to `log`."""
    with log.open("wb") as output:
        guard = subprocess.Popen(
            [sys.executable, "-c", GUARD, *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C goes to pytest alone, which then ends the block
        )
    try:
        yield guard
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait(30)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """A real `prefect server start` on a free port of loopback with a home folder of its own; gives the API's URL."""
    log = HOME / "server.log"
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(PORT),
        "--no-ui",
    ]
    with guarded(command, log) as guard:
        _until_healthy(guard, log)
        from prefect.settings import get_current_settings

        assert get_current_settings().api.url == API, "Prefect was imported before its settings were made"
        yield API


def _until_healthy(guard: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_WITHIN
    while time.monotonic() < until and guard.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{API}/health", timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"The Prefect server did not start at {API}:\n{log.read_text(errors='replace')[-4000:]}")


@pytest.fixture(scope="session")
def dask_cluster(prefect_server: str) -> Iterator[str]:
    """A `distributed.LocalCluster` of two processes on loopback; gives the address of its scheduler."""
    pytest.importorskip("distributed")
    from prefect_anyrunner import RunnerSpec
    from prefect_anyrunner._provisioning.engine import shared_engine

    with shared_engine(RunnerSpec.parse("dask")) as engine:
        assert engine.spec.address is not None
        yield engine.spec.address


@pytest.fixture(scope="session")
def ray_head(prefect_server: str) -> Iterator[str]:
    """A Ray of its own with two CPUs, without dashboard; gives the address of its head."""
    ray = pytest.importorskip("ray")
    from prefect_anyrunner import RunnerSpec
    from prefect_anyrunner._provisioning.engine import shared_engine

    with shared_engine(RunnerSpec.parse("ray")):
        yield ray.get_runtime_context().gcs_address
