"""When memory really runs out, the engine's monitor ends the worker, which crashes one run and names the reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client


@pytest.mark.parametrize(
    "engine", [pytest.param("dask", marks=pytest.mark.dask), pytest.param("ray", marks=pytest.mark.ray)]
)
def test_the_run_that_takes_all_memory_crashes_once_and_names_the_reason(
    engine: str, prefect_server: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("memory_flow.py")), engine, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    hog, *others = json.loads(done.stdout.splitlines()[-1])
    assert hog["status"] == "crashed", hog
    assert "memory ran out" in hog["error"]
    assert [each["status"] for each in others] == ["completed"] * 5, others
    assert (tmp_path / "ran").read_text().splitlines() == ["x"]
    with get_client(sync_client=True) as client:
        assert client.read_task_run(UUID(hog["id"])).state_name == "Crashed"
