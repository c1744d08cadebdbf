"""Logs and events that Ray workers have not sent yet, when the connection of the flow's process to Ray ends.

Ray then kills the workers of that process, on its own Ray as on a cluster, and Python cannot send anything as it would
when it exits. Each worker therefore waits for a request to send everything now. A port is the way to a certain worker,
because Ray itself chooses which worker runs a task.

    worker: offer() -> its address in Ray's store      flow's process: request_all() -> a Ray task asks each address
"""

from __future__ import annotations

import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from typing import Any

import ray
from prefect.logging import get_logger

from prefect_anyrunner._worker.messages import process_name
from prefect_anyrunner._worker.unsent import SEND_SECONDS, send_unsent
from prefect_anyrunner.backends._ray import store

_PAUSE_SECONDS = 1.0
"""Seconds until the next request may come after one that failed."""
_logger = get_logger("anyrunner")


@cache
def offer() -> None:
    """Have a thread of this worker send logs and events when it is asked to; only the first call does something.

    Nobody else can ask, because the key is a secret in Ray's store. Raises OSError, and RuntimeError if the system
    allows no more threads.
    """
    node: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    key = secrets.token_bytes(32)
    listener = Listener((node, 0), authkey=key)
    threading.Thread(target=_serve, args=(listener,), name="anyrunner-ray-last-words", daemon=True).start()
    store.put(f"{_addresses()}{process_name()}", (listener.address, key))


def _serve(listener: Listener) -> None:
    while True:
        try:
            with listener.accept() as asking:
                asking.send(send_unsent())
        except (OSError, EOFError, AuthenticationError):  # whoever asked is a stranger, or did not wait
            time.sleep(_PAUSE_SECONDS)


def request_all() -> None:
    """Have all workers of this process send their logs and events, for `SEND_SECONDS` at most. Never raises."""
    try:
        if not (workers := store.keys(_addresses())):
            return
        ask: Any = ray.remote(_ask_all).options(num_cpus=0, max_retries=0)
        unsent = len(workers)
        with suppress(ray.exceptions.GetTimeoutError):
            unsent = ray.get(ask.remote(workers), timeout=SEND_SECONDS)
    except Exception:
        _logger.warning("Could not ask the Ray workers to send their logs and events.", exc_info=True)
        return
    if unsent:
        _logger.warning("%d Ray workers ended before the API had all their logs and events.", unsent)


def _ask_all(workers: set[str]) -> int:
    """Ask workers to send their logs and events; return how many could not send everything."""
    with ThreadPoolExecutor(len(workers)) as threads:
        return sum(not sent for sent in threads.map(_ask, workers))


def _ask(worker: str) -> bool:
    address, key = store.read(worker)
    try:
        with Client(address, authkey=key) as asked:
            return bool(asked.recv())
    except (OSError, EOFError):  # the worker has died, or Ray ended it when it had been idle, after it had sent all
        return True


def _addresses() -> str:
    return f"{store.job_prefix()}worker."
