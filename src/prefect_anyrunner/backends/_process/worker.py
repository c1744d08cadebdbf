"""What runs in a worker process."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect_anyrunner._prefect.private import initialize_process_worker
from prefect_anyrunner._worker.messages import RunRequest, RunResult, process_name
from prefect_anyrunner._worker.run import run_request
from prefect_anyrunner.backends._process.claims import _make

# --- in the worker process ---------------------------------------------------------------------------------------


class ProcessHost:
    backend = "process"

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def name(self) -> str:
        return process_name()

    def fetch(self, digest: str) -> bytes:
        return (self._folder / "kept" / digest).read_bytes()

    def claim(self, key: str) -> str | None:
        path = self._folder / "claims" / key
        if _make(path, process_name()):
            return None
        return path.read_text() or "claimed"


_side: ProcessHost | None = None


def _start_worker(
    folder: str, messages: Any, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...]
) -> None:
    global _side
    _side = ProcessHost(folder)
    # The body and Prefect's event thread take turns; at Python's own 5 ms each waits about as long as a task takes.
    sys.setswitchinterval(0.0005)
    # Pebble's workers are daemons, which may not have children; with the stock runner a task may use multiprocessing.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    initialize_process_worker(messages, initializer, initargs)


def _run_here(parcel: RunRequest) -> RunResult:
    assert _side is not None
    return run_request(_side, parcel)
