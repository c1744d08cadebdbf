"""The pytest plugin with Dask and Ray, which take long to start: only `make test-all` runs it."""

from __future__ import annotations

import pytest

from tests.plugin.watching import Watched, interrupt

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("flows"), pytest.mark.timeout(400, func_only=True)]


@pytest.mark.dask
@pytest.mark.ray
def test_all_four_runners_by_default(pytester: pytest.Pytester, watched: Watched) -> None:
    pytester.makepyfile(
        """
        import os
        from pathlib import Path
        from flows import doubles, parent

        def engines(runner):
            if runner.name == "dask":
                return str(runner.spec.address)
            if runner.name == "ray":
                import ray
                return ray.get_runtime_context().gcs_address
            return str(os.getpid())

        def test_etl(any_runner):
            any_runner.record("doubles", doubles([1, 2, 3]))
            Path(f"{any_runner.name}-first").write_text(engines(any_runner))

        def test_subflow_on_the_same_engine(any_runner):
            assert parent([3])[0] == [6]
            assert Path(f"{any_runner.name}-first").read_text() == engines(any_runner)
        """
    )
    result = pytester.runpytest_subprocess("-v")
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(
        ["anyrunner: thread (prefect *), process (prefect *), dask (distributed *), ray (ray *)"]
    )
    watched.nothing_left()


@pytest.mark.parametrize(
    "runner", [pytest.param("dask", marks=pytest.mark.dask), pytest.param("ray", marks=pytest.mark.ray)]
)
def test_ctrl_c_leaves_nothing_behind(pytester: pytest.Pytester, watched: Watched, runner: str) -> None:
    interrupt(pytester, f"--anyrunner={runner}")
    watched.nothing_left()
