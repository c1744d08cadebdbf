"""A state that stands for a future."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect.client.schemas.objects import State

UNNAMED = "task"
"""The task's name until it is fetched from the API, because stock futures do not know it."""


class StateFuture:
    """A future made from the final state of a run."""

    def __init__(self, state: State[Any]) -> None:
        self._final_state = state
        self.task_run_id = state.state_details.task_run_id
        self.task_name = UNNAMED if self.task_run_id is not None else "flow"

    def wait(self, timeout: float | None = None) -> None:
        """Return at once, because the run has ended."""

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call `fn(self)` at once, because the run has ended."""
        fn(self)
