"""Which engine is used where the environment, or the process itself, knows another one: the one that was asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("asked_for.py")


def engine(before: str, asked: str, **environment: str) -> Any:
    """Return the address of the engine that the process had, of the one that was used, and if the first is intact."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), before, asked],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.ray
def test_a_spec_without_address_is_a_ray_of_its_own(ray_head: str) -> None:
    _, used, _ = engine("nothing", "ray://?num_cpus=1", RAY_ADDRESS=ray_head)
    assert used != ray_head


@pytest.mark.slow  # it starts an engine of its own
@pytest.mark.ray
def test_the_class_without_address_looks_where_ray_does(ray_head: str) -> None:
    _, used, _ = engine("nothing", "RayTaskRunner()", RAY_ADDRESS=ray_head)
    assert used == ray_head


@pytest.mark.slow  # it starts an engine of its own
@pytest.mark.ray
def test_the_users_own_ray_is_used_and_left(prefect_server: str) -> None:
    there, used, still = engine("ray", "ray://?num_cpus=1")
    assert used == there
    assert still


@pytest.mark.dask
@pytest.mark.parametrize("before", [pytest.param("nothing", marks=pytest.mark.slow), "client"])
@pytest.mark.parametrize("asked", ["cluster", "temporary"])
def test_what_a_spec_asks_for_is_used(before: str, asked: str, dask_cluster: str) -> None:
    spec = dask_cluster.replace("tcp://", "dask://") if asked == "cluster" else "dask://?n_workers=1"
    there, used, still = engine(before, spec, DASK_SCHEDULER_ADDRESS="tcp://127.0.0.1:9")
    assert used != there
    assert (used == dask_cluster) == (asked == "cluster")
    assert still


@pytest.mark.dask
def test_the_class_without_settings_uses_the_default_client(prefect_server: str) -> None:
    there, used, still = engine("client", "DaskTaskRunner()")
    assert used == there
    assert still
