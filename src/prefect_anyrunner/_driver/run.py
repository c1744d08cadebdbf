"""One submitted run as the flow's process records it, and the table of the moves that it may make."""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import TaskRun
from prefect.context import TaskRunContext
from prefect.tasks import Task

from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._worker.messages import RunRequest, RunResult


class Phase(Enum):
    """The phase of a run, as the flow's process sees it."""

    WAITING = "waiting for upstream runs"
    READY = "ready to be sent"
    SENT = "with the engine"
    ENDED = "ended"


MOVES: Mapping[Phase, frozenset[Phase]] = MappingProxyType(
    {
        # All upstream runs have ended; or the run is cancelled, blocked or cannot be pickled, or its flow has ended.
        Phase.WAITING: frozenset({Phase.READY, Phase.ENDED}),
        # The engine takes the run; or the run is cancelled, or its flow has ended.
        Phase.READY: frozenset({Phase.SENT, Phase.ENDED}),
        # The worker is lost and the run may be sent again; or a result, a loss or a cancellation ends the run.
        Phase.SENT: frozenset({Phase.READY, Phase.ENDED}),
        Phase.ENDED: frozenset(),
    }
)
"""The phases that a run may move to from each phase."""


class Run:
    """The record of one submitted run.

    `claim` names one sending of the run: a run that is sent again gets another one, so that a message from an abandoned
    execution is recognised. `handle` is the backend's own future for that sending. A `revoked` run is never sent again.
    `request` travels to a worker; it is None on threads. `blobs` are the digests of the shared bytes that it names.
    """

    __slots__ = (
        "blobs",
        "cancel_requested",
        "claim",
        "context",
        "future",
        "handle",
        "parameters",
        "parent",
        "phase",
        "request",
        "reruns",
        "revoked",
        "sends",
        "task",
        "task_run",
        "upstreams",
        "wait_for",
    )

    def __init__(
        self,
        task: Task[Any, Any],
        task_run: TaskRun,
        future: AnyFuture[Any],
        parameters: dict[str, Any],
        wait_for: Any,
        context: contextvars.Context,
    ) -> None:
        parent = TaskRunContext.get()
        self.task = task
        self.task_run = task_run
        self.future = future
        self.parameters = parameters
        self.wait_for = wait_for
        self.context = context
        self.parent: UUID | None = parent.task_run.id if parent is not None else None
        self.phase = Phase.WAITING
        self.upstreams: list[Any] = []  # futures and states among the arguments: each may block the run
        self.request: RunRequest | None = None
        self.blobs: dict[str, str] = {}  # name of an argument -> digest
        self.claim = ""
        self.handle: Any = None
        self.sends = 0
        self.reruns = 0
        self.cancel_requested = False
        self.revoked = False

    @property
    def id(self) -> UUID:
        return self.task_run.id

    def move(self, to: Phase) -> None:
        """Move to another phase, under the ledger's lock. Raises RuntimeError for a move that is not in `MOVES`."""
        if to not in MOVES[self.phase]:
            raise RuntimeError(f"Task run {self.task_run.name!r} cannot move from {self.phase.name} to {to.name}.")
        self.phase = to

    def record(self, result: RunResult) -> None:
        """Copy the counts and times of the worker to the task run."""
        task_run = self.task_run
        task_run.name = result.name
        task_run.run_count = result.attempts
        task_run.start_time = result.started  # type: ignore[assignment]  # Prefect's DateTime is a datetime
        task_run.end_time = result.ended or result.started  # type: ignore[assignment]
        task_run.total_run_time = result.total_run_time

    def drop_inputs(self) -> None:
        """Drop arguments and messages, because callbacks of upstream futures keep a run alive after its end."""
        self.parameters, self.wait_for, self.upstreams = {}, None, []
        self.request = self.handle = None
