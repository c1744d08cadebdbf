"""A Prefect server for the time of one command: free port, home folder of its own, nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prefect.settings import PREFECT_API_URL, PREFECT_PROFILES_PATH

from prefect_anyrunner._base.errors import AnyRunnerError

STARTUP_SECONDS = 120
STOP_SECONDS = 15


_GUARD = """
import os, subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: os._exit(server.wait()), daemon=True).start()
sys.stdin.buffer.read()
server.terminate()
threading.Event().wait(10)
server.kill()
"""
"""Runs the server until its standard input is closed, which also happens when whoever started it is killed."""


@contextmanager
def server_environment() -> Iterator[dict[str, str]]:
    """Yield environment variables with which several processes talk to one Prefect server.

    The server that is configured; without one, a temporary one on a free loopback port, stopped on the way out, with
    the processes' home folder beside its own. Raises AnyRunnerError when it does not start.
    """
    if url := PREFECT_API_URL.value():
        yield {"PREFECT_API_URL": url}
        return
    with tempfile.TemporaryDirectory(prefix="anyrunner-", ignore_cleanup_errors=True) as folder:
        environment = {
            "PREFECT_HOME": folder,
            "PREFECT_PROFILES_PATH": str(PREFECT_PROFILES_PATH.value()),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        port = _free_port()
        log = Path(folder, "server.log")
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        with log.open("wb") as output:
            server = subprocess.Popen(
                [sys.executable, "-c", _GUARD, *command, "--no-ui"],
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: we stop the server when nobody needs it any more
            )
        try:
            url = f"http://127.0.0.1:{port}/api"
            _wait_until_healthy(server, url, log)
            yield {**environment, "PREFECT_API_URL": url}
        finally:
            assert server.stdin is not None
            server.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                server.wait(STOP_SECONDS)
            stop(server)


def stop(process: subprocess.Popen[bytes], *, gently: int = signal.SIGTERM, seconds: float = STOP_SECONDS) -> None:
    """End a process that was started in a session of its own, and whatever it left behind in it."""
    if process.poll() is None:
        process.send_signal(gently)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait_until_healthy(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        # Until it listens it refuses; URLError is an OSError.
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    how = f"ended with code {server.returncode}" if server.poll() is not None else f"silent for {STARTUP_SECONDS} s"
    tail = log.read_text(errors="replace").strip().splitlines()[-5:]
    raise AnyRunnerError("\n".join([f"the temporary Prefect server did not start ({how})", *tail]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
