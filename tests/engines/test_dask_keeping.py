"""What a driver has on a Dask scheduler: claims and bytes, given back when it ends, however it ends; and cancelling."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.client.schemas.objects import TaskRun

from prefect_anyrunner import EngineUnreachable, Report, Status, agather, settle
from prefect_anyrunner.conformance import tasks
from prefect_anyrunner.conformance.checks import until

pytestmark = pytest.mark.dask

DRIVER = """
import os, sys
from prefect import flow
from prefect_anyrunner import settle
from prefect_anyrunner.backends.dask import DaskTaskRunner
from prefect_anyrunner.conformance import tasks

@flow(task_runner=DaskTaskRunner(address=sys.argv[1]))
def dying():
    assert settle(tasks.echo.submit(bytes(2**20))).ok
    print("there", flush=True)
    sys.stdin.read()

dying()
"""


def runner(address: str, **options: Any) -> Any:
    from prefect_anyrunner.backends.dask import DaskTaskRunner

    return DaskTaskRunner(address=address, **options)


def plugin(address: str) -> Any:
    """Return the scheduler's plugin itself: the cluster of these tests has its scheduler in this process."""
    from distributed import Scheduler

    from prefect_anyrunner.backends._dask.scheduler import PLUGIN_NAME

    (scheduler,) = (each for each in Scheduler._instances if each.address == address)
    return scheduler.plugins.get(PLUGIN_NAME)


def test_what_a_driver_that_was_killed_had_on_the_scheduler_is_let_go(
    dask_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_anyrunner.backends._dask.scheduler._RECONNECT_SECONDS", 0.1)
    command = [sys.executable, "-c", DRIVER, dask_cluster]
    others = set(getattr(plugin(dask_cluster), "blobs", ()))  # of flow runs of other tests, if there were any
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"there\n"
        kept = plugin(dask_cluster)
        (topic,) = set(kept.blobs) - others
        assert topic in kept.claims
        os.kill(driver.pid, signal.SIGKILL)
    until(lambda: all(topic not in held for held in (kept.blobs, kept.claims, kept.clients)))
    assert kept.revoke(topic, ["claim"]) == ["claim"]
    assert topic not in kept.claims


@pytest.mark.parametrize("kind", [TaskRun, tuple], ids=["what the run is like", "the context"])
def test_a_worker_that_finds_nothing_says_what_it_lacks(dask_cluster: str, kind: type) -> None:
    from prefect_anyrunner.backends.dask import DaskTaskRunner

    class Forgetful(DaskTaskRunner):
        def store_blob(self, digest: str, data: bytes) -> None:
            if not isinstance(pickle.loads(data), kind):
                super().store_blob(digest, data)

    @flow(task_runner=Forgetful(address=dask_cluster))
    def forgets() -> Any:
        return settle([tasks.double.submit(1)])

    report: Any = forgets()
    (outcome,) = report
    assert outcome.status is Status.CRASHED
    assert "crashed: dask worker tcp://" in str(outcome.error)
    assert "could not begin it: RuntimeError: The Dask scheduler no longer keeps" in str(outcome.error)
    assert isinstance(outcome.error.__cause__, RuntimeError)


def test_keys_of_other_clients_are_not_remembered(dask_cluster: str) -> None:
    @flow(task_runner=runner(dask_cluster))
    def opens() -> None:
        assert settle(tasks.double.submit(1)).ok

    opens()  # the plugin is there from now on
    kept = plugin(dask_cluster)
    others = set(kept.claims_of_key)  # keys that workers hold since earlier tests
    opens()
    until(lambda: set(kept.claims_of_key) <= others)
    kept.forgotten.clear()
    for key in ("inc-0123456789abcdef0123456789abcdef", ("sum", 1), "sum-1.0"):
        kept.transition(key, "released", "forgotten")
    assert not kept.forgotten
    opens()
    until(lambda: kept.forgotten)


def test_a_run_that_is_cancelled_while_its_batch_is_sent_ends_alone(
    dask_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sending thread has taken the run, so that its claim must be revoked on the scheduler."""
    from prefect_anyrunner.backends._dask.channel import DaskChannel

    class CancelsMeanwhile(DaskChannel):
        def _submit(self, batches: list[list[Any]], **more: Any) -> None:
            for run, _, _ in (sending for batch in batches for sending in batch):
                if run.future.map_index == 4:
                    assert run.future.cancel()
            super()._submit(batches, **more)

    monkeypatch.setattr("prefect_anyrunner.backends.dask.DaskChannel", CancelsMeanwhile)

    @flow(task_runner=runner(dask_cluster))
    def mapping() -> Report:
        return settle(tasks.double.map(range(5)))

    assert [outcome.status for outcome in mapping()] == [Status.COMPLETED] * 4 + [Status.CANCELLED]


def test_cancel_asks_only_the_worker_that_runs_it_and_survives_its_death(dask_cluster: str, tmp_path: Path) -> None:
    started = tmp_path / "started"

    @task
    def hold(path: str) -> None:
        Path(path).write_text(str(os.getpid()))
        while True:
            pass

    @flow(task_runner=runner(dask_cluster))
    def cancelling() -> Report:
        future: Any = hold.submit(str(started))
        until(lambda: started.exists() and started.read_text())
        os.kill(int(started.read_text()), signal.SIGKILL)
        future.cancel()
        report = settle(future)
        assert settle(tasks.double.map(range(4))).ok
        return report

    (outcome,) = cancelling()
    assert outcome.status in (Status.CANCELLED, Status.CRASHED)


def test_a_policy_cancels_many_runs_with_one_word_to_the_scheduler(
    dask_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect_anyrunner.backends.dask import DaskTaskRunner

    words: list[int] = []
    revoke = DaskTaskRunner.revoke

    def counted(self: Any, runs: list[Any]) -> list[bool]:
        words.append(len(runs))
        return revoke(self, runs)

    monkeypatch.setattr(DaskTaskRunner, "revoke", counted)
    go = tmp_path / "go"

    @flow(task_runner=runner(dask_cluster))
    def cancelling() -> Report:
        failing: Any = tasks.raise_special.submit("two")
        held = tasks.hold.map([str(tmp_path / f"started-{n}") for n in range(40)], str(go))
        try:
            return settle([failing, *held], policy="then=cancel", timeout=100)
        finally:
            go.touch()

    report = cancelling()
    assert [outcome.status for outcome in report[1:]] == [Status.CANCELLED] * 40
    assert words[0] == 40


@task
async def waits_twice() -> list[Any]:
    first = [tasks.double.submit(number) for number in range(3)]
    second = [tasks.double.submit(number) for number in range(3, 6)]
    return [*await asyncio.gather(agather(first), agather(second))]


def test_two_waits_of_one_async_task_overlap(dask_cluster: str) -> None:
    @flow(task_runner=runner(dask_cluster))
    def nesting() -> Report:
        return settle(waits_twice.submit() for _ in range(3))

    assert nesting().results() == [[[0, 2, 4], [6, 8, 10]]] * 3


def test_a_started_runner_equals_its_duplicate(dask_cluster: str) -> None:
    mine = runner(dask_cluster)
    with mine:
        mine._connect()
        assert mine == mine.duplicate() == runner(dask_cluster)


def test_why_no_scheduler_answered_is_said() -> None:
    closed = runner("tcp://127.0.0.1:1", connect_timeout=1)
    with pytest.raises(EngineUnreachable, match=r"at tcp://127.0.0.1:1 within 1 seconds"), closed:
        pass
    # Dask tells the cause unless its own time is up just before: two clocks of it run out at the same moment.
    from prefect_anyrunner.backends._dask.greeting import unreachable

    refused = OSError("Timed out trying to connect")
    refused.__cause__ = ConnectionRefusedError("connection refused")
    assert unreachable("tcp://127.0.0.1:1", 1, refused).endswith("within 1 seconds: connection refused")


def test_tasks_that_no_run_needs_any_more_leave_the_scheduler(
    dask_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flow may make a task of its own for each run; the last ones stay, because most flows have few."""
    monkeypatch.setattr("prefect_anyrunner._driver.requests._MOST_CODES", 2)
    others = set(getattr(plugin(dask_cluster), "blobs", ()))

    @flow(task_runner=runner(dask_cluster))
    def varying() -> list[Any]:
        results = []
        for number in range(4):
            doubling = tasks.double.with_options(name=f"double-{number}")
            results.append(settle([doubling.submit(number), *doubling.map([number] * 3)]).results())
        assert settle(tasks.double.submit(1) for _ in range(3)).ok
        (topic,) = set(plugin(dask_cluster).blobs) - others
        # The context, and a task with a template for each of the last two.
        until(lambda: len(plugin(dask_cluster).blobs[topic]) == 5)
        return results

    assert varying() == [[2 * number] * 4 for number in range(4)]
