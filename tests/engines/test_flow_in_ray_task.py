"""A flow that a Ray task of the user's own calls: the task frees its CPUs while the flow waits for its runs."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import flow, task

from prefect_anyrunner import gather

pytestmark = pytest.mark.ray
LONG = 60.0
"""Seconds in which a busy machine gets everything done."""


@task
def double(number: int) -> int:
    return 2 * number


def runs_a_flow() -> tuple[int, list[int]]:
    from prefect_anyrunner.backends.ray import RayTaskRunner

    @flow(task_runner=RayTaskRunner())
    def doubling() -> tuple[int, list[int]]:
        one: Any = double.submit(1)
        return one.result(), gather(double.map([2, 3]))

    return doubling()


def test_flow_in_a_ray_task_gets_the_cpus_of_that_task(ray_head: str) -> None:
    import ray

    remote: Any = ray.remote
    reference = remote(runs_a_flow).options(num_cpus=2, max_retries=0).remote()  # all CPUs
    try:
        assert ray.get(reference, timeout=LONG) == (2, [4, 6])
    finally:
        ray.cancel(reference, force=True)  # of use only if it waits for ever
