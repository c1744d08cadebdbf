"""A run that is revoked while it is given to Ray never starts, also when its flow run has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.context import FlowRunContext

from prefect_anyrunner._driver import ends
from tests.engines.files import until_there

pytestmark = pytest.mark.ray


@task
def start(folder: Path) -> None:
    (folder / "started").touch()


def hold(folder: Path) -> None:
    (folder / "held").touch()
    until_there(folder / "go on")


class Revoking:
    """The function that Ray calls; revokes the only run as soon as Ray has it."""

    def __init__(self, channel: Any, run: Any, function: Any) -> None:
        self.channel = channel
        self.run = run
        self.function = function
        self.references: list[Any] = []

    def remote(self, *arguments: Any) -> Any:
        self.references.append(self.function.remote(*arguments))
        assert self.channel.revoke([self.run]) == [True]
        return self.references[0]


def test_run_that_is_revoked_while_it_is_sent_never_starts(
    ray_head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from prefect_anyrunner.backends.ray import RayTaskRunner

    remote: Any = ray.remote
    holding = remote(hold).options(num_cpus=2).remote(tmp_path)  # all CPUs, so that Ray keeps the run
    until_there(tmp_path / "held")
    revoking: list[Revoking] = []

    @flow(task_runner=RayTaskRunner())
    def revoked() -> None:
        context = FlowRunContext.get()
        runner: Any = context and context.task_runner
        channel = runner._channel
        function = channel._function

        def function_that_revokes(options: Any) -> Revoking:
            (run,) = runner.ledger.open_runs()
            revoking.append(Revoking(channel, run, function(options)))
            return revoking[0]

        monkeypatch.setattr(channel, "_function", function_that_revokes)
        start.submit(tmp_path)
        runner.end(revoking[0].run, ends.cancelled(ends.NOT_STARTED))

    try:
        revoked()
    finally:
        (tmp_path / "go on").touch()
        ray.get(holding)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(revoking[0].references[0])
    assert not (tmp_path / "started").exists()
