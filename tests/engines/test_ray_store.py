"""Nothing of ours stays in Ray's key-value store: not when a run has ended, nor when the flow's process is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect import flow, task

from prefect_anyrunner import gather
from prefect_anyrunner.conformance.checks import until

pytestmark = pytest.mark.ray


@task
def double(number: int) -> int:
    return 2 * number


def own_keys() -> set[str]:
    """Return the keys of this process, without the addresses of its workers."""
    from prefect_anyrunner.backends._ray import store

    return {key for key in store.keys(store.job_prefix()) if ".worker." not in key}


def keys_of_others() -> set[str]:
    """Return the keys of the first jobs of this Ray, without those of this process."""
    from prefect_anyrunner.backends._ray import store

    jobs = [number.to_bytes(4, "little").hex() for number in range(1, 100)]
    found = set[str]().union(*(store.keys(f"RemoteFunction:{job}:anyrunner.") for job in jobs))
    return found - store.keys(store.job_prefix())


def test_claims_of_runs_that_travel_alone_are_deleted_when_the_runs_have_ended(ray_head: str) -> None:
    from prefect_anyrunner.backends.ray import RayTaskRunner

    @flow(task_runner=RayTaskRunner(events="failures"))
    def alone() -> None:
        before = own_keys()  # of runs that were cancelled in another test, and that Ray still had
        assert gather([double.submit(number) for number in range(20)]) == [2 * number for number in range(20)]
        until(lambda: own_keys() <= before)  # the last ones go just after their outcomes have come

    alone()


@pytest.mark.slow  # another process connects, and gets workers of its own
def test_claims_go_with_a_process_that_is_killed(ray_head: str, tmp_path: Path) -> None:
    arguments = ["ray://auto", "wait", str(tmp_path), "600", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.engines.signalled_flow", *arguments], env={**os.environ, "RAY_ADDRESS": ray_head}
    ) as process:
        try:
            until(lambda: [*tmp_path.glob("runs-*")], within=100)
            assert keys_of_others()
        finally:
            process.kill()
    until(lambda: not keys_of_others())
