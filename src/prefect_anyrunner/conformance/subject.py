"""The runner under test, and flow runs to put it to work in."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from prefect.task_runners import TaskRunner

from prefect_anyrunner.backends import Capability
from prefect_anyrunner.conformance.open_flow import (
    Make,
    OpenFlow,
    SharedFlow,
    T,
    _alone,
)


class Subject:
    """The runner that a case is about.

    `make(**options)` returns a new runner of the backend, not started, on an engine with `workers` workers that is
    there already where the backend can use one. `folder` is on a disk that the workers share. `lacks` says what the
    backend does not claim to do. `setting`: one option of the backend with a value that is not its default.
    """

    def __init__(
        self,
        backend: str,
        make: Make,
        shared: SharedFlow,
        folder: Path,
        lacks: Mapping[Capability, str],
        *,
        workers: int = 2,
        setting: Mapping[str, Any] | None = None,
    ) -> None:
        self.backend = backend
        self.make = make
        self.folder = folder
        self.workers = workers
        self.setting = dict(setting or {})
        self._shared = shared
        self._lacks = lacks

    def can(self, capability: Capability) -> bool:
        """Tell whether the backend has a capability."""
        return capability not in self._lacks

    def path(self, name: str) -> str:
        """Return a path in the shared folder."""
        return str(self.folder / name)

    def inside(self, body: Callable[[], T]) -> T:
        """Call `body()` inside a flow run on this runner, which other cases may have used before."""
        return self._shared.call(body)

    def flow(self, body: Callable[[], T], **options: Any) -> T:
        """Call `body()` inside a flow run of its own, on a runner with these options, and see the flow run end."""
        return self.flow_on(self.make(**options), body)

    def flow_on(self, runner: TaskRunner[Any], body: Callable[[], T]) -> T:
        """Do as `flow`, on a runner that the case made."""
        return _alone(OpenFlow(runner), body)

    def async_flow(self, body: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do as `flow`, awaiting `body()` in an async flow."""
        return _alone(OpenFlow(self.make(), asynchronous=True), body)  # type: ignore[return-value]  # awaited there
