"""SIGTERM on every runner, whatever the flow run does: each run has its end in the API, no process is left (Q1)."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.engines.own_server import OwnServer
from tests.engines.signalled import LONG, Signalled

SLOW = pytest.mark.slow
SPECS = {  # with time for a server on a busy machine
    "thread": "thread://?max_workers=2&stop_timeout=100",
    "process": "process://?max_workers=2&stop_timeout=100",
    "dask": "dask://?n_workers=2&threads_per_worker=1&stop_timeout=100",
    "ray": "ray://?num_cpus=2&stop_timeout=100",
}
MARKS = {"dask": [SLOW, pytest.mark.dask], "ray": [SLOW, pytest.mark.ray]}
GRID = [
    pytest.param(kind, moment, times, marks=MARKS.get(kind, [SLOW]))
    for kind in SPECS
    for moment, times in [("start", 1), ("submit", 1), ("wait", 1), ("wait", 2), ("end", 1)]
]


@pytest.mark.parametrize(("kind", "moment", "times"), GRID)
def test_sigterm_stops_everything(own_server: OwnServer, kind: str, moment: str, times: int, tmp_path: Path) -> None:
    run = Signalled(own_server, SPECS[kind], moment, tmp_path)
    try:
        run.wait_for(moment)
        if times == 2:
            _send_twice(run)
        else:
            run.process.send_signal(signal.SIGTERM)
        _check_end(own_server, run, "Completed" if moment == "end" else "Crashed")
    finally:
        run.end()


def test_a_second_sigterm_leaves_bodies_that_do_not_stop(own_server: OwnServer, tmp_path: Path) -> None:
    run = Signalled(own_server, SPECS["thread"], "wait", tmp_path, sleeps=(600, 1))
    try:
        run.wait_for("wait")
        _send_twice(run)
        _check_end(own_server, run, "Crashed")
        assert "2 task runs have not stopped, now shown as Cancelled" in run.output()
        assert "The flow run was stopped, with 50 task runs: 50 cancelled." in run.output()
        assert own_server.states(run.flow_run_id()) == {"Cancelled": 50}
    finally:
        run.end()


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=MARKS.get(kind, [SLOW])) for kind in SPECS])
def test_nothing_is_left_of_a_flow_that_is_killed(own_server: OwnServer, kind: str, tmp_path: Path) -> None:
    run = Signalled(own_server, SPECS[kind], "wait", tmp_path, sleeps=(600, 1))
    try:
        run.wait_for("wait")
        run.process.kill()
        run.process.wait()
        assert run.left() == []
    finally:
        run.end()


@pytest.mark.slow
@pytest.mark.dask
def test_an_existing_cluster_stops_what_a_killed_flow_had_started(
    own_server: OwnServer, dask_cluster: str, tmp_path: Path
) -> None:
    address = dask_cluster.replace("tcp://", "dask://")
    run = Signalled(own_server, address, "wait", tmp_path, sleeps=(0.05, 100_000))
    try:
        run.wait_for("wait")
        run.wait_until(lambda: len([*tmp_path.glob("runs-*")]) == 2)
        run.process.kill()
        run.process.wait()
        until = time.monotonic() + LONG
        while len([*tmp_path.glob("stopped-*")]) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert len([*tmp_path.glob("runs-*")]) == 2
    finally:
        run.end()


def _send_twice(run: Signalled) -> None:
    run.process.send_signal(signal.SIGTERM)
    run.wait_until(lambda: "Stopping" in run.output())  # else the two may become one
    run.process.send_signal(signal.SIGTERM)


def _check_end(server: OwnServer, run: Signalled, state: str) -> None:
    assert run.process.wait(LONG) == -signal.SIGTERM, run.output()
    assert run.left() == []
    flow_run = run.flow_run()
    assert flow_run is not None and flow_run["state_name"] == state
    assert set(server.states(flow_run["id"])) <= {"Cancelled", "Completed"}
