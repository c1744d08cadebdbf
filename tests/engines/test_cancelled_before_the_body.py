"""A run is cancelled after its worker has claimed it and before its body starts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.task_runners import TaskRunner

from prefect_anyrunner import settle
from tests.engines.files import until_there


class Waits:
    """An argument whose rebuilding goes on until a file appears, and drops whatever interrupts it meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return rebuilt, (self.folder,)


def rebuilt(folder: Path) -> str:
    (folder / "claimed").touch()
    while not (folder / "go on").exists():
        try:
            time.sleep(0.01)
        except KeyboardInterrupt:  # as Python does when one comes in `__del__` or in the callback of a weak reference
            (folder / "interrupted").touch()
    return "rebuilt"


@task
def stay(argument: Any, folder: Path) -> None:
    (folder / "started").touch()
    while True:
        time.sleep(0.01)


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["ray"])  # on the others, no exception is raised before the body
def test_its_body_does_not_start(runner: TaskRunner[Any], tmp_path: Path) -> None:
    @flow(task_runner=runner)
    def cancelling() -> Any:
        future: Any = stay.submit(Waits(tmp_path), tmp_path)
        until_there(tmp_path / "claimed")
        future.cancel()
        until_there(tmp_path / "interrupted")
        (tmp_path / "go on").touch()
        return settle(future)[0]

    outcome: Any = cancelling()
    assert outcome.status.value == "cancelled"
    assert not (tmp_path / "started").exists()
