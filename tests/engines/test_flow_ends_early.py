"""A flow run that is cancelled in the API, or whose time is over, stops its task runs on every runner (rule Q1)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.engines.own_server import OwnServer
from tests.engines.test_published import LONG, SLOW, Flow

RUNNERS = [
    "thread://?max_workers=2",
    pytest.param("process://?max_workers=2", marks=SLOW),
    pytest.param("dask://?n_workers=2&threads_per_worker=1", marks=[SLOW, pytest.mark.dask]),
    pytest.param("ray://?num_cpus=2", marks=[SLOW, pytest.mark.ray]),
]


@pytest.mark.parametrize("spec", RUNNERS)
def test_a_flow_run_cancelled_in_the_api_ends_as_cancelled(own_server: OwnServer, spec: str, tmp_path: Path) -> None:
    started = tmp_path / "started"
    run = Flow(own_server, spec, "for_ever", str(started))
    _until_two_run(started)
    own_server.cancel(run.flow_run_id)
    assert run.receive() == {"cancelled": 6}
    run.end()
    assert own_server.flow_run_state(run.flow_run_id) == "Cancelled"
    assert own_server.states(run.flow_run_id) == {"Cancelled": 6}
    assert started.read_text() == "xx"


@pytest.mark.parametrize("spec", RUNNERS)
def test_runs_of_a_flow_that_has_timed_out_are_stopped(own_server: OwnServer, spec: str, tmp_path: Path) -> None:
    run = Flow(own_server, spec, "too_long", str(tmp_path / "started"))
    assert run.child.wait(LONG) == 1
    assert "FlowRunTimeoutError" in "\n".join(run.child.tail())
    run.child.stop()
    assert own_server.flow_run_state(run.flow_run_id) == "TimedOut"
    assert own_server.states(run.flow_run_id) == {"Cancelled": 6}


def _until_two_run(started: Path) -> None:
    while not started.exists() or started.read_text() != "xx":
        time.sleep(0.05)
