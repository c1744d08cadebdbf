"""Undocumented names of distributed; `tests/unit/backends/test_engine_names.py` fails when one moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import distributed
from distributed.threadpoolexecutor import thread_state


def ask_workers(client: Any, function: Callable[..., Any], *args: Any, timeout: float) -> dict[str, Any]:
    """Return what `function` returns or raises on each worker. Raises TimeoutError after `timeout` seconds."""
    answers: dict[str, Any] = client.sync(client._run, function, *args, on_error="return", callback_timeout=timeout)
    return answers


def call_on_workers(
    client: Any, function: Callable[..., Any], *args: Any, workers: Sequence[str] | None = None
) -> None:
    """Call `function` on all workers, or on these, without waiting for it; what it raises is ignored."""
    client.loop.add_callback(client._run, function, *args, workers=workers, on_error="ignore")


def holds_worker_thread() -> bool:
    """Return whether the calling thread runs a task in a thread of Dask that it has not given back by `secede`."""
    return bool(getattr(thread_state, "proceed", False))


def ask_scheduler(worker: Any, operation: str, **message: Any) -> Any:
    """Call an operation of the scheduler from a thread of a worker, and return the answer."""
    return distributed.utils.sync(worker.loop, getattr(worker.scheduler, operation), worker=worker.address, **message)


def send_to_scheduler(worker: Any, message: dict[str, Any]) -> None:
    """Send a message from any thread of a worker, in the stream that also reports that a key is done."""
    worker.loop.add_callback(worker.batched_stream.send, message)
