"""A real Prefect server in a process of its own, with an empty database in a folder that goes when it ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

SERVER = "BENCHMARK_SERVER_PID"
"""The variable that tells who the server is, to see when it has nothing left to do."""


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
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray writes one into the user's home folder
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")])
        ),
        "PYTHONWARNINGS": "ignore",
    }


@contextlib.contextmanager
def prefect_server() -> Iterator[dict[str, str]]:
    """Start a server on a free port of loopback; give the environment that leads to it, stop the server at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        env = environment(home, f"http://127.0.0.1:{port}/api")
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        with (home / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [*command, "--no-ui"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            _until_healthy(server, env["PREFECT_API_URL"], home / "server.log")
            yield {**env, SERVER: str(server.pid)}
        finally:
            _stop(server)


def _until_healthy(server: subprocess.Popen[bytes], api: str, log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{api}/health", timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"The Prefect server did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(10)
            return
