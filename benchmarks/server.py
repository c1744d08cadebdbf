"""A real Prefect server in a process of its own, with an empty database in a folder that goes when it ends."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from prefect_anyrunner._provisioning import server
from prefect_anyrunner._provisioning.environment import ray_token

SERVER = "BENCHMARK_SERVER_PID"
"""The environment variable with the server's process id, which shows when the server is idle."""


def environment(home: Path, api: str) -> dict[str, str]:
    """Return the environment for everything that is measured: one server, no telemetry, no log lines per task."""
    return {
        **os.environ,
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        **ray_token(),
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")])
        ),
        "PYTHONWARNINGS": "ignore",
    }


def until_idle(server: psutil.Process) -> float:
    """Wait until the server has nothing left to do and return the seconds of CPU that it has used."""
    while server.cpu_percent(interval=5) > 10:
        continue
    times = server.cpu_times()
    return float(times.user + times.system)


def recorded(env: dict[str, str], flow_run: str) -> int:
    """Return how many task runs of a flow run are Completed in the API."""
    question = {
        "flow_runs": {"id": {"any_": [flow_run]}},
        "task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
    }
    answer = httpx.post(f"{env['PREFECT_API_URL']}/task_runs/count", json=question, timeout=600)
    return int(answer.raise_for_status().json())


@contextlib.contextmanager
def prefect_server() -> Iterator[dict[str, str]]:
    """Start a server on a free port of loopback; give the environment that leads to it, stop the server at the end."""
    port = server.free_port()
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        env = environment(home, server.api_url(port))
        with server.prefect_server(port, home / "server.log", env) as guard:
            (process,) = psutil.Process(guard.pid).children()
            yield {**env, SERVER: str(process.pid)}
