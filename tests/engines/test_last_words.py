"""Logs and events of the last runs are in the API although their workers end right after them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.settings import PREFECT_LOGGING_LEVEL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from prefect_anyrunner import use_runner
from tests.engines.last_words_flow import saying

SPECS = {
    "process": "process://?max_workers=2",
    "dask": "dask://?n_workers=2&threads_per_worker=1",
    "ray": "ray://?num_cpus=2",
    "ray that goes on": "ray://auto",
}
SLOW = [pytest.mark.ray, pytest.mark.slow]
RUNNERS = ["process", "dask", pytest.param("ray", marks=SLOW), pytest.param("ray that goes on", marks=SLOW)]


@pytest.mark.parametrize("name", RUNNERS)
@pytest.mark.parametrize("count", [1, 20])
def test_what_the_last_runs_said_is_in_the_api(
    name: str, count: int, prefect_server: str, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip({"dask": "distributed", "process": "pebble"}.get(name, "ray"))
    head = {"RAY_ADDRESS": request.getfixturevalue("ray_head")} if SPECS[name] == "ray://auto" else {}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("last_words_flow.py")), str(count)],
        env={
            **os.environ,
            **head,
            "ANYRUNNER": SPECS[name],
            "PREFECT_LOGGING_TO_API_ENABLED": "true",
            "PREFECT_LOGGING_LEVEL": "INFO",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    check(done.stdout.split()[-1], count, done.stderr)


@pytest.mark.ray
def test_ray_workers_send_what_was_said_when_they_are_asked_to(ray_head: str) -> None:
    from prefect_anyrunner.backends._ray.last_words import request_all

    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: True, PREFECT_LOGGING_LEVEL: "INFO"}), use_runner("ray"):
        flow_run_id = saying(20)
        request_all()
    check(flow_run_id, 20)


def check(flow_run_id: str, count: int, output: str = "") -> None:
    assert lines(flow_run_id) == sorted(f"line {number}" for number in range(count)), output
    assert said(flow_run_id, count) == {f"said.{flow_run_id}.{number}" for number in range(count)}, output


def lines(flow_run_id: str) -> list[str]:
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[UUID(flow_run_id)]))
    with get_client(sync_client=True) as client:
        logs = client.read_logs(log_filter=wanted, limit=200)
    return sorted(log.message for log in logs if log.message.startswith("line "))


def said(flow_run_id: str, count: int) -> set[str]:
    """Return the ids that events came with, which the server writes some time after it has received them."""
    wanted: dict[str, Any] = {"event": {"name": ["anyrunner.test.said"]}}
    end = time.monotonic() + 30
    while True:
        answer = httpx.post(f"{os.environ['PREFECT_API_URL']}/events/filter", json={"filter": wanted, "limit": 50})
        ids = {event["resource"]["prefect.resource.id"] for event in answer.raise_for_status().json()["events"]}
        ids = {each for each in ids if each.startswith(f"said.{flow_run_id}.")}
        if len(ids) >= count or time.monotonic() > end:
            return ids
        time.sleep(0.2)
