"""`use_runner(..., keep=True)`: one engine for many flow runs, and nothing is left of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from prefect_anyrunner import RunnerSpec, use_runner
from prefect_anyrunner._choosing.engine import shared_engine

pytestmark = pytest.mark.usefixtures("prefect_server")
SCRIPT = Path(__file__).with_name("kept_engine.py")
SLOW = pytest.mark.slow
ENDS = [
    pytest.param("dask://?n_workers=1&events=final", "end", marks=pytest.mark.dask),
    pytest.param("dask://?n_workers=1", "wait", marks=[SLOW, pytest.mark.dask]),
    pytest.param("ray://?num_cpus=1", "end", marks=[SLOW, pytest.mark.ray]),
    pytest.param("ray://?num_cpus=1", "wait", marks=[SLOW, pytest.mark.ray]),
]


@pytest.mark.parametrize(("spec", "then"), ENDS)
def test_flow_runs_use_one_engine_which_is_stopped(spec: str, then: str) -> None:
    command = [sys.executable, str(SCRIPT), spec, then]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as script:
        try:
            assert script.stdout is not None
            line = script.stdout.readline()
            source, first, second = line.rsplit(maxsplit=2)
            assert source == "use_runner, which keeps its engine"
            assert first == second != str(script.pid)
            started = psutil.Process(script.pid).children(recursive=True) if then == "wait" else []
            if then == "wait":
                script.send_signal(signal.SIGTERM)
            assert script.wait(100) == (143 if then == "wait" else 0)
        finally:
            script.kill()
    _, left = psutil.wait_procs(started, timeout=30)
    assert left == []


@pytest.mark.parametrize("spec", ["thread://?max_workers=3", "process", "dask://127.0.0.1:8786"])
def test_what_starts_no_engine_is_used_as_without_it(spec: str) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with use_runner(spec) as without, use_runner(spec, keep=True) as kept:
        assert kept == without and kept.source == without.source
        assert signal.getsignal(signal.SIGTERM) == handler


@pytest.mark.dask
def test_a_cluster_whose_adapt_is_a_coroutine_grows() -> None:
    import distributed

    spec = {
        "backend": "dask",
        "cluster_class": "tests.engines.adapting_cluster.AdaptingCluster",
        "cluster_kwargs": {"n_workers": 0, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"},
        "adapt_kwargs": {"minimum": 1},
    }
    client: Any = distributed.Client
    with shared_engine(RunnerSpec.load(spec)) as engine:
        runner: Any = engine.spec.runner()
        with client(runner.address, set_as_default=False) as asking:
            asking.wait_for_workers(1, timeout=30)


@pytest.mark.dask
def test_a_dask_cluster_says_how_many_workers_its_arguments_ask_for() -> None:
    spec = RunnerSpec.load({"backend": "dask", "cluster_kwargs": {"n_workers": 1}})
    with shared_engine(spec) as engine:
        assert engine.workers == 1


@pytest.mark.ray
def test_a_ray_says_how_many_cpus_its_arguments_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = pytest.importorskip("prefect_anyrunner.backends._ray.shared")
    # A process has one Ray, which the other tests of this process use.
    monkeypatch.setattr(shared, "join", lambda *_: None)
    monkeypatch.setattr(shared, "leave", lambda _: None)
    with shared_engine(RunnerSpec.load({"backend": "ray", "init_kwargs": {"num_cpus": 1}})) as engine:
        assert engine.workers == 1
