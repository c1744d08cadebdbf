"""A flow run that is cancelled or times out, and one whose own function raises or exits while tasks run (rule Q1)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.engines.own_server import OwnServer
from tests.engines.published import LONG, SLOW, Flow

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
    printed = "\n".join(run.end())
    assert own_server.flow_run_state(run.flow_run_id) == "Cancelled"
    assert own_server.states(run.flow_run_id) == {"Cancelled": 6}
    assert started.read_text() == "xx"
    assert "The flow run was stopped, with 6 task runs: 6 cancelled." in printed
    if spec.startswith("thread"):  # where the task runs log in this process
        assert printed.count("Finished in state Cancelled('It was cancelled while it ran.')") == 2
        assert "Crash" not in printed
        ends = [own_server.history(each["id"]).count("Cancelled") for each in own_server.task_runs(run.flow_run_id)]
        assert ends == [1] * 6


@pytest.mark.parametrize("spec", RUNNERS)
def test_runs_of_a_flow_that_has_timed_out_are_stopped(own_server: OwnServer, spec: str, tmp_path: Path) -> None:
    timeout = "4" if spec.startswith("thread") else "40"  # an engine starts first
    run = Flow(own_server, spec, "too_long", str(tmp_path / "started"), FLOW_TIMEOUT=timeout)
    assert run.child.wait(LONG) == 1
    assert "FlowRunTimeoutError" in "\n".join(run.child.tail())
    run.child.stop()
    assert own_server.flow_run_state(run.flow_run_id) == "TimedOut"
    assert own_server.states(run.flow_run_id) == {"Cancelled": 6}


@pytest.mark.parametrize("spec", RUNNERS)
def test_what_runs_is_let_finish_when_the_flow_raises(own_server: OwnServer, spec: str, tmp_path: Path) -> None:
    run = Flow(own_server, spec, "raises", str(tmp_path / "started"))
    assert run.receive() == "raises"
    while own_server.states(run.flow_run_id)["Cancelled"] != 4:
        time.sleep(0.05)
    (tmp_path / "started-go").touch()
    assert run.child.wait(LONG) == 1
    assert "ValueError: the flow itself" in "\n".join(run.child.tail())
    run.child.stop()
    assert own_server.flow_run_state(run.flow_run_id) == "Failed"
    assert own_server.states(run.flow_run_id) == {"Completed": 2, "Cancelled": 4}


@pytest.mark.parametrize("spec", RUNNERS)
def test_what_runs_is_stopped_when_the_flow_exits(own_server: OwnServer, spec: str, tmp_path: Path) -> None:
    run = Flow(own_server, spec, "exits", str(tmp_path / "started"))
    assert run.child.wait(LONG) == 3
    run.child.stop()
    assert own_server.flow_run_state(run.flow_run_id) == "Crashed"
    assert own_server.states(run.flow_run_id) == {"Cancelled": 6}


def _until_two_run(started: Path) -> None:
    while not started.exists() or started.read_text() != "xx":
        time.sleep(0.05)
