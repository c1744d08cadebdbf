"""`AnyTaskRunner` resolves once in a flow run, when the run starts."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest
from prefect import flow, task
from prefect.context import FlowRunContext

from prefect_anyrunner import AnyRunnerError, AnyTaskRunner, RunnerSpec, SpecError, gather, pick, use_runner

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANYRUNNER", raising=False)


def here() -> str:
    """Return the name and size of the runner of the current flow run."""
    run = FlowRunContext.get()
    assert run is not None
    return f"{run.task_runner.name} {run.task_runner._max_workers}"  # type: ignore[attr-defined]


@flow(task_runner=AnyTaskRunner())
def anywhere() -> str:
    return here()


@flow(task_runner=AnyTaskRunner)  # type: ignore[call-overload,untyped-decorator]  # Prefect takes a class, but its annotation does not say so
def by_class() -> str:
    return here()


@flow
def of_its_own() -> str:
    return here()


def test_resolves_when_the_run_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRUNNER", "thread://?max_workers=3")
    assert [anywhere(), by_class()] == ["threadpool 3"] * 2
    monkeypatch.setenv("ANYRUNNER", "process://?max_workers=2")
    assert anywhere() == "processpool 2"


@task
def pid() -> int:
    """Return the process that a task runs in."""
    return os.getpid()


@flow(task_runner=AnyTaskRunner())
def with_a_task() -> tuple[str, int]:
    """Return the name of the runner and the process that a task ran in."""
    run = FlowRunContext.get()
    assert run is not None
    return run.task_runner.name, gather(pid.submit())


@pytest.mark.dask
def test_the_environment_moves_a_flow_to_a_dask_cluster(dask_cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRUNNER", dask_cluster.replace("tcp://", "dask://"))
    name, where = with_a_task()
    assert name == "dask" and where != os.getpid()


@pytest.mark.ray
def test_the_environment_moves_a_flow_to_ray(ray_head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRUNNER", "ray")
    name, where = with_a_task()
    assert name == "ray" and where != os.getpid()


def test_with_options() -> None:
    assert of_its_own.with_options(task_runner=AnyTaskRunner("thread://?max_workers=5"))() == "threadpool 5"
    assert anywhere.with_options(task_runner=AnyTaskRunner(default="thread://?max_workers=6"))() == "threadpool 6"


def test_one_runner_in_two_flows_at_once() -> None:
    shared = AnyTaskRunner()
    both = threading.Barrier(2, timeout=60)

    @flow(task_runner=shared)
    def meets() -> tuple[str, Any]:
        both.wait()
        pinned = cloudpickle.loads(cloudpickle.dumps(shared))._pinned
        return here(), pinned

    found: dict[int, Any] = {}

    def run(size: int) -> None:
        with use_runner(f"thread://?max_workers={size}"):
            found[size] = meets()

    threads = [threading.Thread(target=run, args=(size,)) for size in (3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == {
        size: (f"threadpool {size}", RunnerSpec("thread", options={"max_workers": size})) for size in (3, 4)
    }


def test_use_runner_reaches_subflows_of_every_kind() -> None:
    @task
    def calls_a_flow() -> str:
        return anywhere()

    @flow
    async def asynchronously() -> str:
        return anywhere()

    @flow(task_runner=AnyTaskRunner("thread://?max_workers=9"))
    def parent() -> list[str]:
        return [here(), anywhere(), calls_a_flow.submit().result(), asyncio.run(asynchronously())]

    with use_runner("thread://?max_workers=3"):
        assert parent() == ["threadpool 3"] * 4
    assert anywhere() != "threadpool 3"


def test_subflow_decides_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    @flow(task_runner=AnyTaskRunner("thread://?max_workers=4"))
    def parent() -> tuple[str, str]:
        monkeypatch.setenv("ANYRUNNER", "thread://?max_workers=2")
        return here(), anywhere()

    assert parent() == ("threadpool 4", "threadpool 2")


@task
def on_a_worker(change: Callable[[], None]) -> tuple[Any, str, str]:
    """Return what the runner of the flow is pinned to, and where the flow and a subflow run when called here."""
    run = FlowRunContext.get()
    assert run is not None and run.flow is not None
    change()
    runner = run.flow.task_runner
    assert isinstance(runner, AnyTaskRunner)
    return runner._pinned, runner.duplicate().name, anywhere()


def move_away() -> None:
    import os

    os.environ["ANYRUNNER"] = "no://such"


def test_worker_never_resolves_again(monkeypatch: pytest.MonkeyPatch) -> None:
    @flow(task_runner=AnyTaskRunner())
    def parent() -> tuple[Any, str, str]:
        future = on_a_worker.submit(lambda: None)
        return future.result()

    monkeypatch.setenv("ANYRUNNER", "process://?max_workers=1")
    pinned, name, _ = parent()
    assert pinned == RunnerSpec("process", options={"max_workers": 1})
    assert pinned.source == "environment variable ANYRUNNER"
    assert name == "processpool"


def test_use_runner_reaches_flows_called_on_another_process() -> None:
    @flow(task_runner=AnyTaskRunner())
    def parent() -> tuple[Any, str, str]:
        future = on_a_worker.submit(move_away)
        return future.result()

    with use_runner("process://?max_workers=1"):
        pinned, _, called_there = parent()
    assert pinned == RunnerSpec("process", options={"max_workers": 1})
    assert called_there == "processpool 1"  # although its environment asks for no://such


def test_bad_configuration_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRUNNER", "thread://?max_wokers=3")
    with pytest.raises(SpecError, match=r"environment variable ANYRUNNER .* did you mean 'max_workers'"):
        anywhere()


def test_it_runs_no_task_itself() -> None:
    runner = AnyTaskRunner()
    with pytest.raises(AnyRunnerError, match="cannot submit: give it to a flow"):
        runner.submit(on_a_worker, {})
    with pytest.raises(AnyRunnerError, match="cannot map"):
        runner.map(on_a_worker, {})
    with pytest.raises(AnyRunnerError, match=r"cannot be entered.*pick\(\)"), runner:
        pass
    with pick("thread://?max_workers=1") as picked:
        assert picked.name == "threadpool"


def test_pickled_outside_a_run_it_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRUNNER", "process")
    later = cloudpickle.loads(cloudpickle.dumps(AnyTaskRunner(default="ray")))
    monkeypatch.setenv("ANYRUNNER", "thread")
    assert later == AnyTaskRunner(default="ray")
    assert later.resolve().backend == "thread"
    with use_runner("dask"):
        pinned = cloudpickle.loads(cloudpickle.dumps(AnyTaskRunner()))
    assert pinned.resolve().backend == "dask"


def test_repr_holds_no_secret() -> None:
    assert repr(AnyTaskRunner()) == "AnyTaskRunner()"
    assert "hunter2" not in repr(AnyTaskRunner("dask://me:hunter2@host:1"))
