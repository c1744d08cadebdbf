"""A cluster without a worker is one warning, and the task runs go on when a worker comes."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task

from prefect_anyrunner import EngineUnreachable, Outcome, Status, gather, settle
from prefect_anyrunner.backends import _no_workers
from tests.engines.files import until_there

pytestmark = pytest.mark.usefixtures("prefect_server")


@task
def double(number: int) -> int:
    return 2 * number


@task
def return_when_there(path: Path) -> None:
    until_there(path)


class Warnings(logging.Handler):
    """Collects what is logged as a warning, and sets an event."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self.came.set()


@contextmanager
def warnings_of(logger: Any) -> Iterator[Warnings]:
    found, level = Warnings(), logger.level
    logger.addHandler(found)
    logger.setLevel(logging.WARNING)
    try:
        yield found
    finally:
        logger.removeHandler(found)
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_no_workers, "SECONDS", 0.1)
    monkeypatch.setattr(_no_workers, "_LOOK_SECONDS", 0.02)


@pytest.mark.dask
@pytest.mark.timeout(120)
def test_dask_without_workers() -> None:
    import distributed

    from prefect_anyrunner.backends.dask import DaskTaskRunner

    local: Any = distributed.LocalCluster
    with local(n_workers=0, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster:
        mine = DaskTaskRunner(address=cluster.scheduler_address)

        @flow(task_runner=mine)
        def doubling() -> int:
            future = double.submit(21)
            assert found.came.wait(60)
            cluster.scale(1)
            return int(gather(future))

        with warnings_of(mine.logger) as found:
            assert doubling() == 42
    (text,) = found.texts
    assert text.startswith(f"The Dask cluster at {cluster.scheduler_address} has had no worker for 0.1 seconds")


@pytest.mark.dask
@pytest.mark.timeout(120)
def test_runs_crash_when_no_worker_has_come_in_time() -> None:
    import distributed

    from prefect_anyrunner.backends.dask import DaskTaskRunner

    local: Any = distributed.LocalCluster
    with local(n_workers=0, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster:

        @flow(task_runner=DaskTaskRunner(address=cluster.scheduler_address, worker_timeout=0.1))
        def doubling() -> list[Outcome]:
            return [settle(double.submit(number))[0] for number in range(2)]

        for outcome in doubling():
            assert outcome.status is Status.CRASHED
            assert "has had no worker for 0.1 seconds (worker_timeout)" in str(outcome.error)
            assert isinstance(outcome.error and outcome.error.__cause__, EngineUnreachable)


@pytest.mark.dask
@pytest.mark.timeout(120)
def test_dask_with_workers_is_not_worth_a_line(dask_cluster: str) -> None:
    from prefect_anyrunner.backends.dask import DaskTaskRunner

    mine = DaskTaskRunner(address=dask_cluster)
    looked = threading.Event()

    @flow(task_runner=mine)
    def doubling() -> int:
        return int(gather(double.submit(21)))

    with warnings_of(mine.logger) as found:
        watch = _no_workers.WorkerWatch("An engine", lambda: looked.set() or True, lambda: True, mine.logger)  # type: ignore[func-returns-value]
        assert doubling() == 42 and looked.wait(60)
        watch.stop()
    assert found.texts == []


@pytest.mark.dask
@pytest.mark.timeout(120)
def test_runs_crash_when_all_workers_have_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    from prefect_anyrunner.backends.dask import DaskTaskRunner

    seen = threading.Event()
    runners: list[DaskTaskRunner] = []

    asked = DaskTaskRunner._has_workers

    def has_workers(self: DaskTaskRunner) -> bool:
        found = asked(self)
        if found:
            runners.append(self)
            seen.set()
        return found

    monkeypatch.setattr(DaskTaskRunner, "_has_workers", has_workers)
    local: Any = distributed.LocalCluster
    with local(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster:

        @flow(task_runner=DaskTaskRunner(address=cluster.scheduler_address, worker_timeout=0.1))
        def doubling() -> Outcome:
            running = return_when_there.submit(tmp_path / "seen")
            assert seen.wait(60)
            (tmp_path / "seen").touch()
            gather(running)
            cluster.scale(0)
            while runners[0].client.ncores():
                time.sleep(0.01)
            (outcome,) = settle(double.submit(21), timeout=30)
            return outcome

        outcome = doubling()
    assert outcome.status is Status.CRASHED
    assert "has had no worker for 0.1 seconds (worker_timeout)" in str(outcome.error)


def test_watch_goes_on_after_a_worker_and_after_a_question_that_failed() -> None:
    answers = [True, OSError("no answer"), False, True, *[False] * 10]
    given_up: list[list[Any]] = []
    twice = threading.Event()

    def has_workers() -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    def give_up(_: str) -> None:
        given_up.append(list(answers))
        if len(given_up) == 2:
            twice.set()

    watch = _no_workers.WorkerWatch(
        "An engine", has_workers, lambda: True, logging.getLogger("anyrunner"), timeout=0.01, give_up=give_up
    )
    assert twice.wait(60)
    watch.stop()
    assert given_up == [[False] * 8, [False] * 7]


def test_time_without_waiting_runs_does_not_count() -> None:
    waits = iter([False, False, True, True])
    asked: list[str] = []
    asked_before: list[int] = []
    given_up = threading.Event()

    def give_up(_: str) -> None:
        asked_before.append(len(asked))
        given_up.set()

    watch = _no_workers.WorkerWatch(
        "An engine",
        lambda: bool(asked.append("asked")),  # type: ignore[func-returns-value]
        lambda: next(waits),
        logging.getLogger("anyrunner"),
        timeout=0.01,
        give_up=give_up,
    )
    assert given_up.wait(60)
    watch.stop()
    assert asked_before[0] == 2


RAY_SCRIPT = """
import threading
from prefect import flow, task
from prefect_anyrunner.backends import _no_workers
from prefect_anyrunner.backends.ray import RayTaskRunner
from tests.engines.test_no_workers import double, warnings_of

_no_workers.SECONDS = 0.1
mine = RayTaskRunner("local", {"num_cpus": 0, "include_dashboard": False})

@flow(task_runner=mine)
def doubling():
    future = double.submit(21)
    assert found.came.wait(100)
    assert future.cancel()

with warnings_of(mine.logger) as found:
    doubling()
print("warnings:", found.texts)
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(200)
def test_ray_without_workers() -> None:
    done = subprocess.run([sys.executable, "-c", RAY_SCRIPT], capture_output=True, text=True, timeout=180, check=False)
    assert "warnings: ['The Ray cluster has had no worker for 0.1 seconds" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
