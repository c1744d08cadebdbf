"""What the flow's process and a worker say to each other about one run."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple, Protocol

from prefect.client.schemas.objects import State

from prefect_anyrunner._prefect.private import ResultRecordMetadata


class RunRequest(NamedTuple):
    """One submitted run on its way to a worker; everything in it is bytes or text, so any pickle can carry it.

    `context`, `task`, `like` and `shared` are digests, of bytes that `WorkerHost.fetch` must be able to bring.
    """

    claim: str
    context: str
    task: str
    like: str
    task_run: bytes
    arguments: bytes
    shared: dict[str, str]
    extras: bytes


class RunResult(NamedTuple):
    """What a worker says of one parcel.

    `refused` tells why the body was not run here (rules C2, C3, K1), and is all there is then, but for the `error` that
    kept a worker from beginning it. `value` is None when it is kept on the worker (`value_size` bytes) until somebody
    asks.
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


class WorkerHost(Protocol):
    """What `run_request` asks of the backend that carries it."""

    backend: str

    def name(self) -> str:
        """Return the worker's name as a person would look for it."""
        ...

    def fetch(self, digest: str) -> bytes:
        """Return the bytes that the driver put away under `digest`."""
        ...

    def claim(self, key: str) -> str | None:
        """Claim the right to run the body: None if it is ours, else why not (rules C2, C3, K1)."""
        ...


def process_name() -> str:
    """Return this process as `host:pid`."""
    return f"{_host()}:{os.getpid()}"


@cache
def _host() -> str:
    return socket.gethostname()  # gives the GIL away, and waits for it: each time is felt
