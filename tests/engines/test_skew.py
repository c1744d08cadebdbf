"""A worker that must not run a flow run says so: what runs there is real, and the flow claims another version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from prefect import flow

from prefect_anyrunner import RunnerSpec, Status, VersionSkew, settle
from prefect_anyrunner._base.versions import running
from prefect_anyrunner.conformance import tasks


def claimed(*engine: str) -> Mapping[str, str]:
    return {**running(*engine), "prefect": "3.0.0"}


@pytest.mark.parametrize("engine", ["process", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_worker_refuses_a_context_of_another_version(
    request: pytest.FixtureRequest, engine: str, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "ray":
        request.getfixturevalue("ray_head")
    monkeypatch.setattr(
        "prefect_anyrunner._worker.contexts.running", claimed
    )  # of this process: workers have their own

    @flow(task_runner=RunnerSpec.parse({"process": "process://?max_workers=1", "ray": "ray"}[engine]).runner())
    def two() -> Any:
        return settle(tasks.double.map([1, 2]))

    report: Any = two()
    for outcome in report:
        assert outcome.status is Status.CRASHED
        assert outcome.error is not None and isinstance(outcome.error.__cause__, VersionSkew)
        assert f"has prefect {running()['prefect']}, this flow runs prefect 3.0.0" in str(outcome.error)


@pytest.mark.dask
def test_dask_is_asked_when_the_run_connects(dask_cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_anyrunner.backends._dask.cluster.running", claimed)

    @flow(task_runner=RunnerSpec.parse(f"dask://{dask_cluster.removeprefix('tcp://')}").runner())
    def one() -> Any:
        return tasks.double.submit(1)

    says = rf"^The Dask scheduler at {dask_cluster} has prefect .*, this flow runs prefect 3\.0\.0"
    with pytest.raises(VersionSkew, match=says):
        one()


@pytest.mark.ray
def test_what_ray_says_in_six_lines_is_one_sentence() -> None:
    ray_utils = pytest.importorskip("ray._private.utils")
    import ray

    from prefect_anyrunner.backends._ray.addresses import version_skew

    with pytest.raises(RuntimeError) as raised:
        ray_utils.check_version_info({"ray_version": "2.1.0", "python_version": "3.9.1"}, "Ray Client")
    skew = version_skew("The Ray cluster at ray://head:10001", str(raised.value))
    assert str(skew) == (
        "The Ray cluster at ray://head:10001 has ray 2.1.0 and python 3.9.1, this flow runs "
        f"ray {ray.__version__} and python {running()['python']}: install the same on both."
    )
