"""A temporary Prefect server: a free port, a home folder of its own, nothing left behind.

Importing this module does not import Prefect, because tests set Prefect's variables first.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from prefect_anyrunner._base.errors import AnyRunnerError
from prefect_anyrunner._provisioning.child import STOP_SECONDS, stop_process

STARTUP_SECONDS = 120
"""Seconds for the server to start, because it creates its database first, perhaps on a busy machine."""


_GUARD = """
import os, signal, subprocess, sys, threading

command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
stopping = threading.Event()

def follow():
    code = command.wait()
    if stopping.is_set() and os.name != "nt":
        os.killpg(0, signal.SIGKILL)
    os._exit(code % 256)

threading.Thread(target=follow, daemon=True).start()
sys.stdin.buffer.read()
stopping.set()
if os.name == "nt":  # there are no sessions
    subprocess.run(["taskkill", "/F", "/T", "/PID", str(os.getpid())])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.killpg(0, signal.SIGTERM)
threading.Event().wait(10)
os.killpg(0, signal.SIGKILL)
"""
"""Program that runs a command until its own standard input is closed, and then ends all processes of the session.

The system closes the input as well when the process that holds it is killed, so nothing outlives that process.
"""


@contextmanager
def guarded(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` until the block ends, or until this process ends in any way; yield the guard that runs it.

    Its output goes to `log`. The guard ends by itself, with the command's exit code, when the command ends.
    """
    with log.open("wb") as output:
        guard = subprocess.Popen(
            [sys.executable, "-c", _GUARD, *command],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the block
        )
    try:
        yield guard
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            guard.wait(STOP_SECONDS)
        stop_process(guard)


@contextmanager
def prefect_server(
    port: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Prefect server on a loopback port and yield its guard once the server answers.

    `environment`: the variables of the server, PREFECT_HOME among them. Raises AnyRunnerError when it does not start.
    """
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with guarded([*command, "--no-ui"], log, environment) as guard:
        _wait_until_healthy(guard, port, log)
        yield guard


@contextmanager
def server_environment() -> Iterator[dict[str, str]]:
    """Yield environment variables with which several processes use one Prefect server.

    This is the configured server or, if there is none, a temporary one. The temporary one listens on a free loopback
    port and stops when the block ends; the home folder of the processes is beside its own. Raises AnyRunnerError when
    it does not start.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_PROFILES_PATH

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
        port = free_port()
        with prefect_server(port, Path(folder, "server.log"), {**os.environ, **environment}):
            # An empty address keeps failures from naming pages: the server has no UI, and ends with the block.
            yield {**environment, "PREFECT_API_URL": api_url(port), "PREFECT_UI_URL": ""}


def api_url(port: int) -> str:
    """Return the URL of the Prefect API of a server on a loopback port."""
    return f"http://127.0.0.1:{port}/api"


def free_port() -> int:
    """Return a loopback port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        # The connection is refused until the server listens; URLError is an OSError.
        with suppress(OSError), urllib.request.urlopen(f"{api_url(port)}/health", timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    code = server.poll()
    how = f"it ended with code {code}" if code is not None else f"it did not answer within {STARTUP_SECONDS} s"
    tail = log.read_text(errors="replace").strip().splitlines()[-5:]
    raise AnyRunnerError("\n".join([f"the temporary Prefect server did not start: {how}", *tail]))
