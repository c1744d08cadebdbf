"""The hooks that a backend provides to the driver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.run import Run


class RunnerHooks(ABC):
    """The backend's side of a runner; `TrackedRunner` is the driver's side."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The backend's name, as logs and notes show it."""

    @abstractmethod
    def dispatch(self, runs: list[Run]) -> None:
        """Give runs that are READY to the engine; runs that have ended meanwhile are left out."""

    @abstractmethod
    def revoke(self, runs: list[Run]) -> list[bool]:
        """Keep runs that were SENT from ever starting; return for each whether this came in time."""

    @abstractmethod
    def interrupt(self, run: Run) -> None:
        """Ask a running body to stop."""

    @abstractmethod
    def release_worker(self) -> AbstractContextManager[None]:
        """Free the worker that the calling thread holds while it waits (rule N1)."""

    def workers(self) -> str:
        """Describe in words the workers of this started runner, once it has answered that it can run tasks."""
        return ""

    @property
    def waits_in_engine(self) -> bool:
        """Whether the engine frees a worker only during waits of its own, such as those of `wait_in_engine`."""
        return False

    def wait_in_engine(self, futures: Sequence[AnyFuture[Any]], timeout: float | None) -> None:
        """Free the worker of the calling thread until one of `futures` has ended, for `timeout` seconds at most."""
        return None
