"""What must be importable without Prefect. Who may import whom is checked by import-linter, in `make check`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WITHOUT_PREFECT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("prefect", "ray"):
            raise ModuleNotFoundError(f"{name} is blocked here", name=name)

sys.meta_path.insert(0, Blocked())
import """


@pytest.mark.parametrize(
    "module",
    [
        "prefect_anyrunner",
        "prefect_anyrunner.backends",
        "prefect_anyrunner.pytest_plugin",  # pytest loads it at the start of every run
        # The Dask scheduler loads these two.
        pytest.param("prefect_anyrunner.backends._dask.entry", marks=pytest.mark.dask),
        pytest.param("prefect_anyrunner.backends._dask.scheduler", marks=pytest.mark.dask),
    ],
)
def test_it_is_imported_without_prefect(module: str) -> None:
    ran = subprocess.run([sys.executable, "-c", WITHOUT_PREFECT + module], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.dask
def test_the_tests_of_one_engine_stay_in_one_process(request: pytest.FixtureRequest) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@dask_cluster"), "pytest-xdist sees no groups"
