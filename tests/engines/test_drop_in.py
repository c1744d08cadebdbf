"""What users of the stock runners rely on beyond running tasks: subclasses, errors and attributes."""

from __future__ import annotations

import concurrent.futures
import importlib
import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task

from prefect_anyrunner import Outcome, Status, settle
from tests.engines.files import until_there

CLASSES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "thread": ("ThreadPoolTaskRunner", "prefect.task_runners", {"portable": True}),
    "process": ("ProcessPoolTaskRunner", "prefect.task_runners", {"rerun_lost": 2}),
    "dask": ("DaskTaskRunner", "prefect_dask", {"rerun_lost": 2}),
    "ray": ("RayTaskRunner", "prefect_ray", {"rerun_lost": 2}),
}


@task
def double(number: int) -> int:
    return number * 2


@task
def hold(started: str) -> None:
    Path(started).touch()
    while True:
        time.sleep(0.01)


@pytest.fixture(params=CLASSES)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def ours(backend: str) -> Any:
    return getattr(importlib.import_module(f"prefect_anyrunner.backends.{backend}"), CLASSES[backend][0])


def test_it_is_a_kind_of_the_stock_class(backend: str) -> None:
    name, module, _ = CLASSES[backend]
    assert issubclass(ours(backend), getattr(importlib.import_module(module), name))


def test_a_subclass_that_takes_no_arguments_is_duplicated_with_its_settings_and_attributes(backend: str) -> None:
    setting = CLASSES[backend][2]

    class Narrow(ours(backend)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(**setting)
            self.added = "by the subclass"

    runner = Narrow()
    twin = runner.duplicate()
    assert type(twin) is Narrow
    assert twin == runner
    assert twin is not runner
    assert {name: getattr(twin, name) for name in setting} == setting
    assert twin.added == "by the subclass"
    with runner, twin:
        assert twin.ledger is not runner.ledger


def test_submitting_without_starting_is_told(backend: str) -> None:
    before = set(multiprocessing.active_children())  # an engine of other tests may be here
    with pytest.raises(RuntimeError, match="Task runner is not started"):
        ours(backend)().submit(double, {"number": 1})
    assert set(multiprocessing.active_children()) <= before


def test_a_future_wraps_one_of_the_standard_library(prefect_server: str) -> None:
    @flow(task_runner=ours("thread")())
    def one() -> Outcome:
        future = double.submit(4)
        assert isinstance(future.wrapped_future, concurrent.futures.Future)  # type: ignore[attr-defined]
        outcome: Outcome = future.wrapped_future.result(30)  # type: ignore[attr-defined]
        assert outcome.value == future.result() == 8
        return outcome

    one()


@pytest.mark.dask
def test_a_runner_that_has_stopped_its_cluster_can_start_another(prefect_server: str) -> None:
    runner = ours("dask")(cluster_kwargs={"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0"})
    for number in (1, 2):
        with runner:
            assert runner.submit(double, {"number": number}).result() == 2 * number


@pytest.mark.dask
@pytest.mark.parametrize("chosen", [None, "3s"])
def test_a_temporary_cluster_gives_up_no_worker_that_died(chosen: str | None, prefect_server: str) -> None:
    import dask.config
    import distributed  # noqa: F401  # brings the setting
    from dask.utils import parse_timedelta

    setting = "distributed.deploy.lost-worker-timeout"
    with dask.config.set({setting: chosen} if chosen else {}):
        before = dask.config.get(setting)
        with ours("dask")(
            cluster_kwargs={"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
        ) as runner:
            runner.submit(double, {"number": 1}).wait()
            assert parse_timedelta(dask.config.get(setting)) == parse_timedelta(chosen or "1 day")
        assert dask.config.get(setting) == before


@pytest.mark.parametrize("name", ["thread", "process"])
def test_cancel_all_cancels_what_runs_and_what_waits(name: str, prefect_server: str, tmp_path: Path) -> None:
    with ours(name)(max_workers=1) as runner:
        runs = runner.submit(hold, {"started": str(tmp_path / "first")})
        waits = runner.submit(hold, {"started": str(tmp_path / "second")})
        until_there(tmp_path / "first")
        runner.cancel_all()
        assert [each.status for each in settle([runs, waits], timeout=60)] == [Status.CANCELLED] * 2
    assert not (tmp_path / "second").exists()
