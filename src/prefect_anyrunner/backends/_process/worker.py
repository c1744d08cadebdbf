"""The worker's side of the process backend."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from prefect_anyrunner._prefect.private import initialize_process_worker
from prefect_anyrunner._serialization.values import loads
from prefect_anyrunner._worker.messages import RunRequest, RunResult, process_name
from prefect_anyrunner._worker.run import run_request
from prefect_anyrunner._worker.unsent import SEND_SECONDS, send_unsent
from prefect_anyrunner.backends._process.claims import ClaimFolder
from prefect_anyrunner.backends._process.pool import UNSENT_CODE, exit_worker

_SEND_SECONDS_IN_BODY = 1.0
"""Seconds that a worker gets to send its logs and events if it is stopped in a body: other processes wait for it."""
_PARENT_SECONDS = 1.0
"""Seconds between two checks whether the flow's process is still running."""
_EXIT_SECONDS = 2.0
"""Seconds after which a stopped worker ends, even if a body has left something that keeps Python from exiting."""


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
_in_body = False


def start_worker(parent: int, folder: str, messages: Any, packed: bytes | None) -> None:
    """Prepare a new worker process of the process `parent`; `packed` holds the user's initializer and its arguments."""
    global _host
    _host = ProcessHost(folder)
    if os.name == "posix":  # on Windows, `os.kill` would end the process that it is to look for
        threading.Thread(target=_end_with_parent, args=(parent,), name="anyrunner-parent", daemon=True).start()
    # The body and Prefect's event thread take turns; with Python's own 5 ms each waits about as long as a task takes.
    sys.setswitchinterval(0.0005)
    # Pebble's workers are daemons, which may not have children; with the stock runner a task may use multiprocessing.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    initializer, initargs = loads(packed, what="the initializer of the process pool") if packed else (None, ())
    initialize_process_worker(messages, initializer, initargs)


def _end_with_parent(parent: int) -> None:
    """End this process soon after the flow's process, because one that is killed cannot stop its workers (rule Q1)."""
    with suppress(ProcessLookupError):
        _wait_for_end(parent)
    os._exit(signal.SIGKILL)


def _wait_for_end(process: int) -> None:
    """Wait until a process has ended. Raises ProcessLookupError if it has ended before."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):  # the system has no such descriptors
        while True:
            os.kill(process, 0)
            time.sleep(_PARENT_SECONDS)
    wait([descriptor])


def run_here(request: RunRequest) -> RunResult:
    """Run one request in this worker process."""
    global _in_body
    assert _host is not None
    # Before each run, because a body may have changed both.
    signal.signal(signal.SIGTERM, _end)
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    _in_body = True
    try:
        return run_request(_host, request)
    finally:
        _in_body = False


def _end(*_: Any) -> None:
    """End this process once the API has its logs and events."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sent = threading.Event()

    def send() -> None:
        if send_unsent():
            sent.set()

    # In a thread of its own, because the interrupted code of this thread may hold a lock that sending needs.
    sending = threading.Thread(target=send, daemon=True)
    with suppress(RuntimeError):  # a body has used up the threads that the system allows
        sending.start()
        sending.join(_SEND_SECONDS_IN_BODY if _in_body else SEND_SECONDS)
    code = signal.SIGTERM if sent.is_set() else UNSENT_CODE
    late = threading.Timer(_EXIT_SECONDS, os._exit, (code,))  # pebble waits without limit for what a body has started
    late.daemon = True
    with suppress(RuntimeError):
        late.start()
    exit_worker(code)
