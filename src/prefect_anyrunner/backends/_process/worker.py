"""What runs in a worker process."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from typing import Any

from prefect_anyrunner._prefect.private import initialize_process_worker
from prefect_anyrunner._worker.messages import RunRequest, RunResult, process_name
from prefect_anyrunner._worker.run import run_request
from prefect_anyrunner.backends._process.claims import ClaimFolder


class ProcessHost:
    """The worker's side in a worker process."""

    backend = "process"

    def __init__(self, folder: str) -> None:
        self._folder = ClaimFolder(folder)

    def name(self) -> str:
        """Return the worker's process."""
        return process_name()

    def fetch(self, digest: str) -> bytes:
        """Return the bytes that the flow's process stored under `digest`."""
        return self._folder.fetch(digest)

    def claim(self, claim: str) -> str | None:
        """Claim the right to run a body."""
        return self._folder.claim(claim, process_name())


_host: ProcessHost | None = None


def start_worker(folder: str, messages: Any, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...]) -> None:
    """Prepare a new worker process."""
    global _host
    _host = ProcessHost(folder)
    # The body and Prefect's event thread take turns; with Python's own 5 ms each waits about as long as a task takes.
    sys.setswitchinterval(0.0005)
    # Pebble's workers are daemons, which may not have children; with the stock runner a task may use multiprocessing.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    initialize_process_worker(messages, initializer, initargs)


def run_here(request: RunRequest) -> RunResult:
    """Run one request in this worker process."""
    assert _host is not None
    return run_request(_host, request)
