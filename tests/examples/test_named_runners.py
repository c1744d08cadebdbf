"""The named runners of the deployment example fit the real cluster classes; no test starts such a cluster.

Two tests need `pip install dask-jobqueue dask-kubernetes`, but neither Slurm nor Kubernetes.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import prefect_ray
import pytest

from prefect_anyrunner import RunnerSpec
from prefect_anyrunner.backends.dask import DaskTaskRunner
from prefect_anyrunner.backends.ray import RayTaskRunner

EXAMPLE = Path(__file__).parents[2] / "examples" / "deployment"


def named(name: str) -> Any:
    return RunnerSpec.load(name, folder=EXAMPLE).runner()


def cluster_class(runner: Any) -> Any:
    return runner.resolved_cluster_class or runner.cluster_class


@pytest.mark.dask
def test_kubernetes() -> None:
    pytest.importorskip("dask_kubernetes.operator", reason="dask-kubernetes is not part of the test environment")
    runner = named("kubernetes")
    assert isinstance(runner, DaskTaskRunner)
    found = cluster_class(runner)
    assert f"{found.__module__}.{found.__qualname__}".startswith("dask_kubernetes.operator.")
    assert found.__name__ == "KubeCluster"
    assert set(runner.cluster_kwargs) <= set(inspect.signature(found).parameters)  # by name: it takes any **kwargs


@pytest.mark.dask
@pytest.mark.filterwarnings("ignore")  # dask-jobqueue's own
def test_slurm() -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not part of the test environment")
    runner = named("slurm")
    found = cluster_class(runner)
    assert found.__name__ == "SLURMCluster"
    # The cluster submits no job before it is scaled, so its job script can be read without Slurm.
    with found(**runner.cluster_kwargs, scheduler_options={"host": "127.0.0.1", "dashboard_address": ":0"}) as cluster:
        script = cluster.job_script()
        adaptive = cluster.adapt(**runner.adapt_kwargs)
        assert (adaptive.minimum, adaptive.maximum) == (0, 20)
    for line in ("#SBATCH -p short", "#SBATCH --cpus-per-task=8", "#SBATCH -t 01:00:00"):
        assert line in script, script


@pytest.mark.ray
def test_kuberay() -> None:
    runner = named("kuberay")
    assert isinstance(runner, RayTaskRunner)
    assert (
        runner.address == "ray://nightly-head-svc:10001"
    )  # KubeRay's service of the cluster "nightly", Ray's own port
    assert prefect_ray.RayTaskRunner(address=runner.address, init_kwargs=runner.init_kwargs).address == runner.address
