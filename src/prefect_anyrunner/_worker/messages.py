"""The messages about one run between the flow's process and a worker."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple, Protocol

from prefect.client.schemas.objects import State

from prefect_anyrunner._prefect.private import ResultRecordMetadata
from prefect_anyrunner._publishing.options import Events
from prefect_anyrunner._publishing.publisher import Taken


class RunRequest(NamedTuple):
    """One submitted run on its way to a worker; all fields are bytes or text, so that any pickle can carry it.

    `context`, `task`, `template` and `shared` are digests of bytes that `WorkerHost.fetch` can fetch. `template` is a
    task run of the same task, and `task_run` holds how this one differs from it.
    `events` says what the worker publishes.
    """

    claim: str
    context: str
    task: str
    template: str
    task_run: bytes
    arguments: bytes
    shared: dict[str, str]
    context_overrides: bytes
    events: Events = Events.AUTO


class RunResult(NamedTuple):
    """A worker's answer to one request.

    `refused` is the reason why the body was not run here (rules C2, C3, K1). Beside it, only `error` may be set: the
    error that kept the worker from starting the body. `value` is None while the worker keeps it (`value_size` bytes)
    until it is fetched. `unrecorded` are the ends of runs that the body submitted and that the API has not been seen to
    record.
    """

    worker: str
    refused: str | None = None
    state: State[Any] | None = None
    name: str = ""
    attempts: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    total_run_time: timedelta = timedelta()
    metadata: ResultRecordMetadata | None = None
    value: bytes | None = None
    value_size: int = 0
    error: bytes | None = None
    unrecorded: Sequence[Taken] = ()


class WorkerHost(Protocol):
    """The methods that `run_request` needs from the backend on a worker."""

    backend: str

    def name(self) -> str:
        """Return the name by which a person can find the worker."""
        ...

    def fetch(self, digest: str) -> bytes:
        """Return the bytes that the flow's process stored under `digest`."""
        ...

    def claim(self, claim: str) -> str | None:
        """Claim the right to run a body: return None if the claim is ours, else its owner (rules C2, C3, K1)."""
        ...


def process_name() -> str:
    """Return this process as `host:pid`."""
    return f"{_host()}:{os.getpid()}"


@cache
def _host() -> str:
    return socket.gethostname()  # each call releases the GIL, and getting it back costs more than the answer
