"""A body on Dask runs once, where the scheduler has granted it, and the flow's process knows about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task, unmapped
from prefect.context import FlowRunContext

from prefect_anyrunner import EngineUnreachable, Report, Status, gather, settle
from prefect_anyrunner.conformance.checks import lines, until
from tests.engines.files import until_there

pytestmark = [pytest.mark.dask, pytest.mark.timeout(150)]


@pytest.fixture
def dask(prefect_server: str, tmp_path: Path) -> Iterator[Any]:
    pytest.importorskip("distributed")
    from tests.engines.dask_here import dask_here

    with dask_here(tmp_path / "workers") as here:
        yield here


@pytest.fixture
def all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the runs of a map sent together, so that it is known which of them travel in one batch."""
    from prefect_anyrunner.backends._dask.channel import DaskChannel

    class AllAtOnce(DaskChannel):
        def send(self, runs: list[Any]) -> None:
            self._send(self._runner.ledger.send(runs))

    monkeypatch.setattr("prefect_anyrunner.backends.dask.DaskChannel", AllAtOnce)


@task
def note(folder: Path, number: int, holding: tuple[int, ...] = ()) -> int:
    """Leave a line in a file, so that a body that runs twice leaves two, and wait for another file if it is held."""
    import distributed

    with (folder / f"ran-{number}").open("a") as file:
        file.write(f"{distributed.get_worker().address}\n")
    if number in holding:
        until_there(folder / f"go-{number}")
    return number


def runner_of(address: str, **options: Any) -> Any:
    from prefect_anyrunner.backends.dask import DaskTaskRunner

    return DaskTaskRunner(address=address, **options)


def started_runner() -> Any:
    context = FlowRunContext.get()
    return context and context.task_runner


@pytest.mark.slow  # the units of the plugin and of a batch are the cheap proof
@pytest.mark.usefixtures("all_at_once")
def test_a_run_that_was_returned_runs_once_though_dask_runs_its_batch_again(dask: Any, tmp_path: Path) -> None:
    """Its first worker is lost after it has returned the run, so that two keys carry it."""

    held = (0, 1)
    lost = dask.worker(threads=1)

    @flow(task_runner=runner_of(dask.address))
    def losing() -> Report:
        futures: Any = note.map(tmp_path, range(16), holding=unmapped(held))
        ledger = started_runner().ledger
        runs = [ledger.get(future.task_run_id) for future in futures[:2]]
        until_there(tmp_path / "ran-0")
        batch = runs[0].handle.key
        until(lambda: runs[1].handle is not None and runs[1].handle.key != batch)  # it was returned and sent again
        dask.lose(lost)
        dask.worker(threads=2)
        settle(futures[2:])
        assert gather(note.submit(tmp_path, 16)) == 16  # behind the run that was sent again
        assert lines(str(tmp_path / "ran-1")) == 1
        assert settle(futures[1], timeout=0)[0].status is Status.UNFINISHED
        for number in held:
            (tmp_path / f"go-{number}").touch()
        return settle(futures)

    report = losing()
    assert [outcome.status for outcome in report] == [Status.CRASHED] + [Status.COMPLETED] * 15
    assert [lines(str(tmp_path / f"ran-{number}")) for number in range(16)] == [1] * 16


def test_a_worker_that_the_scheduler_has_given_up_starts_nothing_more(dask: Any, tmp_path: Path) -> None:
    """It still has its queue, and may reach the scheduler again, which has given the runs to another worker."""
    lost = dask.worker(threads=1)

    @flow(task_runner=runner_of(dask.address))
    def losing() -> tuple[Report, str]:
        futures: Any = [note.submit(tmp_path, number, holding=(0,)) for number in range(2)]
        until_there(tmp_path / "ran-0")
        until(lambda: len(lost.state.tasks) == 2)  # the second run is in its queue
        dask.lose(lost)
        (tmp_path / "go-0").touch()
        until(lambda: not lost.state.executing and not lost.state.ready)
        other = dask.worker(threads=1)
        return settle(futures), other.address

    report, other = losing()
    assert [outcome.status for outcome in report] == [Status.CRASHED, Status.COMPLETED]
    assert (tmp_path / "ran-1").read_text().split() == [other]


@pytest.mark.usefixtures("all_at_once")
def test_nothing_starts_after_the_connection_of_the_flow_was_lost(
    dask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flow's process has reported all open runs as crashed, and can send others once it is connected again."""
    from prefect_anyrunner.backends._dask import worker

    monkeypatch.setattr(worker, "BATCH_PATIENCE", 1000)  # so that the worker keeps the runs of its batch
    dask.worker(threads=1)

    @flow(task_runner=runner_of(dask.address))
    def losing() -> Report:
        futures: Any = note.map(tmp_path, range(16), holding=unmapped((0,)))
        until_there(tmp_path / "ran-0")
        client = started_runner()._client
        client.sync(cut, client)
        report = settle(futures)
        (tmp_path / "go-0").touch()
        until(lambda: client.status == "running")
        assert gather(note.submit(tmp_path, 16)) == 16  # the only thread is done with the batch
        return report

    report = losing()
    assert [outcome.status for outcome in report] == [Status.CRASHED] * 16
    assert "the connection to the Dask scheduler" in str(report[1].error)
    assert [number for number in range(16) if (tmp_path / f"ran-{number}").exists()] == [0]


async def cut(client: Any) -> None:
    client.scheduler_comm.comm.abort()


@pytest.mark.parametrize("how", [pytest.param("restarted", marks=pytest.mark.slow), "out of reach for too long"])
def test_a_scheduler_that_has_lost_the_flow_run_is_one_clear_error(dask: Any, tmp_path: Path, how: str) -> None:
    """No worker ends because of it, nothing runs, and later flow runs find all in order."""
    dask.worker(threads=1)

    @flow(task_runner=runner_of(dask.address))
    def losing() -> list[Any]:
        assert gather(note.submit(tmp_path, 1)) == 1
        if how == "restarted":
            client = started_runner()._client
            before = client.scheduler_comm
            dask.restart()
            dask.worker(threads=1)
            until(lambda: client.status == "running" and client.scheduler_comm is not before)
        else:
            dask.close_topics()
        first = settle(note.map(tmp_path, range(2, 34)))
        assert len(dask.scheduler.workers) == 1
        return [*first, *settle(note.submit(tmp_path, 40))]

    outcomes = losing()
    assert [outcome.status for outcome in outcomes] == [Status.CRASHED] * 33
    for outcome in outcomes:
        assert "no longer knows this flow run: it was restarted, or was out of reach for too long" in str(outcome.error)
        assert isinstance(outcome.error.__cause__, EngineUnreachable)
    assert [path.name for path in tmp_path.glob("ran-*")] == ["ran-1"]

    @flow(task_runner=runner_of(dask.address))
    def later() -> Any:
        return gather(note.submit(tmp_path, 50))

    assert later() == 50
