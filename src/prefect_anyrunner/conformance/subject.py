"""The runner under test, and flow runs in which it is used."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from prefect.task_runners import TaskRunner

from prefect_anyrunner.backends import Capability
from prefect_anyrunner.conformance.open_flow import Make, OpenFlow, SharedFlow, T, call_and_close


class Subject:
    """The runner that a case is about.

    `make(**options)` returns a new runner of the backend, not started; it uses an engine with `workers` workers that
    is already running if the backend can share one. `folder` is on a disk that the workers share. `lacks`: the
    capabilities that the backend declares as lacking, each with the reason. `setting`: one option of the backend with
    a value that is not its default.
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
        """Return whether the backend has a capability."""
        return capability not in self._lacks

    def path(self, name: str) -> str:
        """Return a path in the shared folder."""
        return str(self.folder / name)

    def inside(self, body: Callable[[], T]) -> T:
        """Call `body()` inside a flow run on this runner that other cases may have used before."""
        return self._shared.call(body)

    def flow(self, body: Callable[[], T], **options: Any) -> T:
        """Call `body()` inside a flow run of its own, on a runner with these options, and wait for its end."""
        return self.flow_on(self.make(**options), body)

    def flow_on(self, runner: TaskRunner[Any], body: Callable[[], T]) -> T:
        """Do what `flow` does, on a runner that the case made."""
        return call_and_close(OpenFlow(runner), body)

    def async_flow(self, body: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do what `flow` does, awaiting `body()` in an async flow."""
        return call_and_close(OpenFlow(self.make(), asynchronous=True), body)  # type: ignore[return-value]  # the flow awaits it
