"""One submitted run, as the flow's process records it."""

from __future__ import annotations

import contextvars
from enum import Enum
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import TaskRun
from prefect.context import TaskRunContext
from prefect.tasks import Task

from prefect_anyrunner._driver.future import AnyFuture


class Phase(Enum):
    """Where a run stands on the driver."""

    WAITING = "waiting for upstream runs"
    SENT = "with the engine"
    ENDED = "ended"


class Run:
    """The driver's record of one submitted run."""

    __slots__ = (
        "cancel_asked",
        "context",
        "dependencies",
        "engine",
        "future",
        "parameters",
        "parcel",
        "parent",
        "pending",
        "phase",
        "reruns",
        "sends",
        "shared",
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
        self.task = task
        self.task_run = task_run
        self.future = future
        self.parameters = parameters
        self.wait_for = wait_for
        self.context = context
        self.phase = Phase.WAITING
        self.upstreams: list[Any] = []  # futures and states among the arguments, each a possible blocker
        self.pending = 0  # upstream futures that have not ended
        parent = TaskRunContext.get()
        self.parent = parent.task_run.id if parent is not None else None
        self.parcel: Any = None
        self.shared: dict[str, str] = {}
        self.engine: Any = None  # the backend's own handle
        self.sends = 0
        self.reruns = 0
        self.cancel_asked = False

    @property
    def id(self) -> UUID:
        return self.task_run.id

    @property
    def claim(self) -> str:
        """The key under which the body is claimed; a run that may be executed again gets a new one."""
        return f"{self.task_run.id.hex}.{self.sends}"
