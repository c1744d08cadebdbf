"""In each run a task is as it was submitted: what a run changes of it is not seen by the next, as on stock runners."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("remembering_flow.py")
CASES = ["global", "helper", "rebound", "default", "variable", "attribute", "new attribute", "hidden"]
RUNS = 8


def counted(*arguments: str) -> dict[str, list[int]]:
    """Return, for each way to remember, what each of the runs found when it had counted itself."""
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, list[int]] = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == CASES
    return found


@pytest.mark.parametrize(
    "runner",
    [
        "process://?max_workers=2",
        pytest.param("stock+process://?max_workers=2", marks=pytest.mark.slow),
        pytest.param("dask", marks=pytest.mark.dask),
        pytest.param("stock+dask", marks=[pytest.mark.dask, pytest.mark.slow]),
        pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow]),
        pytest.param("stock+ray", marks=[pytest.mark.ray, pytest.mark.slow]),
    ],
)
def test_no_run_sees_what_another_one_counted(
    runner: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, prefect_server: str
) -> None:
    spec = runner
    if runner.endswith("dask"):
        address: str = request.getfixturevalue("dask_cluster")
        spec = runner + address.removeprefix("tcp")
    elif runner.endswith("ray"):
        monkeypatch.setenv("RAY_ADDRESS", request.getfixturevalue("ray_head"))
    found = counted(spec)
    if runner.endswith("dask"):
        found.pop("attribute")  # a worker's threads have one class, and run beside each other
    if runner.startswith("stock+") or runner == "dask":
        found.pop("new attribute")  # on stock runners it is as the worker's garbage collection has it
    assert found == {case: [1] * RUNS for case in found}


def test_portable_threads_share_no_more_than_processes_do(prefect_server: str) -> None:
    found = counted("thread://?portable=true")
    for case in ("attribute", "new attribute"):
        found.pop(case)  # the class of an object that comes home is the one that was sent
    assert found == {case: [1] * RUNS for case in found}
