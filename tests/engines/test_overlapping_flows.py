"""Several flow runs at once in one process: none stops an engine of another one, and all leave nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.engines.states_in_api import check_task_runs, flow_run_state

pytestmark = [pytest.mark.ray, pytest.mark.dask, pytest.mark.timeout(420)]
SCRIPT = Path(__file__).with_name("overlapping_flows.py")

RAY = "ray://?num_cpus=2"
DASK = "dask://?n_workers=1&threads_per_worker=1"
PROCESS = "process://?max_workers=1"
# `ray+` and `dask+` stand for the clusters of the fixtures.
CASES: dict[str, dict[str, Any]] = {
    "four Rays, the first ends first": {"specs": [RAY] * 4},
    "four Rays in turn, the last ends first": {"specs": [RAY] * 4, "start": "in turn", "end": [3, 2, 1, 0]},
    "temporary Dasks, the first ends first": {"specs": [DASK] * 3, "start": "in turn"},
    "clusters": {"specs": ["ray+", "dask+", "ray+", "dask+"], "end": [0, 1, 3, 2]},
    "all kinds, Ray ends first": {"specs": [RAY, DASK, PROCESS, "thread"]},
    "subflows elsewhere": {"specs": [RAY, DASK], "inner": [RAY, "dask+", PROCESS, "thread"]},
}


@pytest.mark.slow  # each takes up to a minute and a half
@pytest.mark.parametrize(
    ("case", "mode"),
    [
        pytest.param(case, mode, id=f"{case}, {mode}".replace(" ", "-"))
        for case in CASES
        for mode in ("threads", "asyncio")
    ],
)
def test_flows_at_once(case: str, mode: str, ray_head: str, dask_cluster: str) -> None:
    plan = {
        "mode": mode,
        "start": "together",
        "inner": [],
        "end": list(range(len(CASES[case]["specs"]))),
        **CASES[case],
    }
    for name in ("specs", "inner"):
        plan[name] = [spec_of(each, ray_head, dask_cluster) for each in plan[name]]
    report = run(plan)
    inner = len(plan["inner"])
    for i, (flow_run_id, results) in enumerate(report["returned"]):
        assert results == [[2 * i, 2 * i + 2], [2 * i + 4, 2 * i + 6], *[[2 * i]] * inner], report
        assert flow_run_state(UUID(flow_run_id)) == "Completed"
        check_task_runs(UUID(flow_run_id), Completed=4 + inner)
    assert report["changed"] == {}
    assert report["left"] == []


@pytest.mark.slow
def test_two_rays_at_once_are_refused(ray_head: str, prefect_server: str) -> None:
    plan = {
        "mode": "threads",
        "start": "in turn",
        "inner": [],
        "end": [0, 1],
        "specs": [RAY, spec_of("ray+", ray_head, "")],
    }
    report = run(plan)
    assert report["returned"][0][1] == [[0, 2], [4, 6]]
    name, text = report["returned"][1]
    assert name == "EngineUnreachable" and ray_head in text and "a process of its own" in text, (name, text)
    assert report["changed"] == {}
    assert report["left"] == []


def spec_of(text: str, ray_head: str, dask_cluster: str) -> str:
    if text == "dask+":
        return dask_cluster.replace("tcp://", "dask://")
    if text == "ray+":
        return f"ray+{ray_head}"
    return text


def run(plan: dict[str, Any]) -> Any:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(plan)], capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
