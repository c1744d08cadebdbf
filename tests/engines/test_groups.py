"""Small runs travel to Dask and Ray in groups; each is still claimed, reported, lost and cancelled by itself."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, task, unmapped
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext

from prefect_anyrunner import Report, Status, gather, settle
from prefect_anyrunner.conformance.checks import until

MANY = 80
"""Runs of one map: enough for groups on the few threads of the tests' engines."""
EVENTS = "failures"
"""Groups are the same with each value, and with this one the server has next to nothing to do."""


@pytest.fixture(params=[pytest.param("dask", marks=pytest.mark.dask), pytest.param("ray", marks=pytest.mark.ray)])
def runner(request: pytest.FixtureRequest) -> Any:
    if request.param == "dask":
        from prefect_anyrunner.backends.dask import DaskTaskRunner

        return DaskTaskRunner(address=request.getfixturevalue("dask_cluster"), events=EVENTS)
    from prefect_anyrunner.backends.ray import RayTaskRunner

    request.getfixturevalue("ray_head")
    return RayTaskRunner(events=EVENTS)


def note(folder: Path, number: int) -> None:
    with (folder / str(number)).open("a") as file:
        file.write(f"{os.getpid()}\n")


def key() -> str:
    """Name the engine's task in which the calling body runs."""
    from prefect_anyrunner._worker.contexts import current_worker

    side = current_worker()
    assert side is not None
    if side.backend == "dask":
        import distributed

        return str(distributed.get_worker().get_current_task())
    import ray

    return str(ray.get_runtime_context().get_task_id())


@task
def key_of_its_own(number: int) -> str:
    return key()


@task
def waits_for_the_next(number: int, folder: Path) -> int:
    note(folder, number)
    if number == 0:
        until(lambda: (folder / "1").exists())
    return number


@task
def waits_for(number: int, folder: Path, who: int) -> int:
    """Wait, as number `who`, until the flow says go; all do if that is -1."""
    note(folder, number)
    if who in (number, -1):
        until(lambda: (folder / "go").exists())
    return number


@task
def submits(count: int, folder: Path, who: int) -> int:
    return sum(gather(waits_for.map(range(count), folder=unmapped(folder), who=unmapped(who))))


@task
def kills_its_worker(number: int, folder: Path, victim: int) -> int:
    note(folder, number)
    if number == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


class SlowToUnpack:
    """Takes as long to unpack as it takes until a file is there."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return unpacked, (self.file,)


def unpacked(file: Path) -> SlowToUnpack:
    until(file.exists)
    return SlowToUnpack(file)


class WaitsToBePacked:
    """Is not packed before a file is there."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        until(self.file.exists, within=60)
        return WaitsToBePacked, (self.file,)


@task
def key_and_note(number: int, folder: Path, first: Any = None) -> str:
    note(folder, number)
    return key()


@task
def key_after(seconds: float) -> str:
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end)
    return key()


@task
def returns_much(number: int) -> bytes:
    return bytes([number]) * 2**19


def warm_up() -> None:
    """Have the workers run something, so that none gives back a group because it took its time to begin."""
    gather(key_of_its_own.map(range(MANY)))


def test_one_task_of_the_engine_carries_several_runs(runner: Any) -> None:
    @flow(task_runner=runner)
    def mapping() -> list[str]:
        keys: list[str] = gather(key_of_its_own.map(range(MANY)))
        return keys

    keys = mapping()
    assert 1 < max(Counter(keys).values()) <= 8
    assert len(set(keys)) >= 8, "every thread still gets several tasks"


def test_a_worker_that_is_slow_to_begin_does_not_end_grouping(runner: Any, tmp_path: Path) -> None:
    @flow(task_runner=runner)
    def mapping() -> list[str]:
        slow = [SlowToUnpack(tmp_path / "1"), *[None] * (MANY - 1)]  # 1 is in the group of 0, and is given back
        gather(key_and_note.map(range(MANY), folder=unmapped(tmp_path), first=slow))
        keys: list[str] = gather(key_and_note.map(range(MANY), folder=unmapped(tmp_path)))
        return keys

    assert max(Counter(mapping()).values()) > 1


def test_the_first_runs_begin_while_others_are_submitted(runner: Any, tmp_path: Path) -> None:
    @flow(task_runner=runner)
    def mapping() -> Report:
        last = [*[None] * 299, WaitsToBePacked(tmp_path / "0")]
        return settle(key_and_note.map(range(300), folder=unmapped(tmp_path), first=last))

    mapping().raise_for_failures()


def test_long_runs_are_not_grouped_once_that_is_known(runner: Any) -> None:
    @flow(task_runner=runner)
    def mapping() -> list[str]:
        gather([key_after.submit(0.06)])
        keys: list[str] = gather(key_after.map([0] * MANY))
        return keys

    assert max(Counter(mapping()).values()) == 1


def test_a_run_never_waits_for_another_of_its_group(runner: Any, tmp_path: Path) -> None:
    @flow(task_runner=runner)
    def mapping() -> Any:
        return gather(waits_for_the_next.map(range(MANY), folder=unmapped(tmp_path)))

    assert mapping() == list(range(MANY))
    assert {len((tmp_path / str(number)).read_text().split()) for number in range(MANY)} == {1}


def test_a_worker_that_dies_takes_one_run_of_a_group(runner: Any, tmp_path: Path) -> None:
    @flow(task_runner=runner)
    def mapping() -> Report:
        warm_up()
        return settle(kills_its_worker.map(range(MANY), folder=unmapped(tmp_path), victim=unmapped(9)))

    report = mapping()
    assert {outcome.index for outcome in report if outcome.status is not Status.COMPLETED} == {9}
    assert report[9].status is Status.CRASHED
    assert {len((tmp_path / str(number)).read_text().split()) for number in range(MANY)} == {1}


def test_what_ended_before_a_cancelled_run_survives_the_worker(runner: Any, tmp_path: Path) -> None:
    @flow(task_runner=runner)
    def mapping() -> Report:
        warm_up()
        waits_for.map([100, 101], folder=unmapped(tmp_path), who=unmapped(-1))
        until(lambda: (tmp_path / "100").exists() and (tmp_path / "101").exists())  # nothing else begins meanwhile
        futures: Any = kills_its_worker.map(range(MANY), folder=unmapped(tmp_path), victim=unmapped(9))
        assert futures[8].cancel(running=False)
        (tmp_path / "go").touch()
        return settle(futures)

    report = mapping()
    assert {outcome.index: outcome.status for outcome in report if outcome.status is not Status.COMPLETED} == {
        8: Status.CANCELLED,
        9: Status.CRASHED,
    }
    assert not (tmp_path / "8").exists()
    assert {len((tmp_path / str(number)).read_text().split()) for number in range(MANY) if number != 8} == {1}


def test_large_results_of_a_group_arrive_each_for_itself(runner: Any) -> None:
    @flow(task_runner=runner)
    def mapping() -> Any:
        return gather(returns_much.map(range(MANY)))

    assert mapping() == [bytes([number]) * 2**19 for number in range(MANY)]


def test_an_outcome_is_told_while_the_next_of_the_group_runs(runner: Any, tmp_path: Path) -> None:
    @flow(task_runner=runner)
    def mapping() -> Any:
        warm_up()
        futures = waits_for.map(range(MANY), folder=unmapped(tmp_path), who=unmapped(1))
        until(lambda: (tmp_path / "1").exists())
        first = futures[0].result()
        (tmp_path / "go").touch()
        return [first, *gather(futures[1:])]

    assert mapping() == list(range(MANY))


def test_what_is_cancelled_in_a_group_never_begins(runner: Any, tmp_path: Path) -> None:
    @flow(task_runner=runner)
    def mapping() -> Report:
        futures: Any = waits_for.map(range(MANY), folder=unmapped(tmp_path), who=unmapped(-1))
        until(lambda: (tmp_path / "0").exists())
        assert all(future.cancel(running=False) for future in futures[40:])  # 0 waits, and so does who runs beside it
        (tmp_path / "go").touch()
        return settle(futures)

    report = mapping()
    assert [outcome.status for outcome in report] == [Status.COMPLETED] * 40 + [Status.CANCELLED] * 40
    assert {path.name for path in tmp_path.iterdir()} == {"go", *map(str, range(40))}


def test_one_run_of_a_group_is_interrupted(runner: Any, tmp_path: Path) -> None:
    @flow(task_runner=runner)
    def mapping() -> Report:
        warm_up()
        futures: Any = waits_for.map(range(MANY), folder=unmapped(tmp_path), who=unmapped(2))
        until(lambda: (tmp_path / "2").exists())
        assert futures[2].cancel()
        return settle(futures)

    report = mapping()
    assert {outcome.index for outcome in report if outcome.status is not Status.COMPLETED} == {2}
    assert report[2].status is Status.CANCELLED
    assert {len((tmp_path / str(number)).read_text().split()) for number in range(MANY)} == {1}


def test_a_task_submits_groups(runner: Any, tmp_path: Path) -> None:
    @flow(task_runner=runner)
    def mapping() -> Any:
        return gather(submits.submit(MANY, tmp_path, -2))

    assert mapping() == sum(range(MANY))
    assert {len((tmp_path / str(number)).read_text().split()) for number in range(MANY)} == {1}


def test_groups_end_with_the_task_that_submitted_them(runner: Any, tmp_path: Path) -> None:
    @flow(task_runner=runner)
    def mapping() -> tuple[UUID, Status]:
        future: Any = submits.submit(MANY, tmp_path, -1)
        until(lambda: (tmp_path / "0").exists())
        assert future.cancel()
        context = FlowRunContext.get()
        assert context is not None and context.flow_run is not None
        return context.flow_run.id, settle(future)[0].status

    flow_run_id, status = mapping()
    assert status is Status.CANCELLED
    begun = len(list(tmp_path.iterdir()))
    of_flow = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:

        def all_ended() -> bool:
            runs = client.read_task_runs(flow_run_filter=of_flow)
            return len(runs) == MANY + 1 and all(run.state and run.state.is_cancelled() for run in runs)

        until(all_ended)
    assert len(list(tmp_path.iterdir())) == begun < MANY


@pytest.mark.ray
def test_no_claim_of_a_group_stays_in_rays_store(ray_head: str) -> None:
    from prefect_anyrunner.backends._ray import store
    from prefect_anyrunner.backends.ray import RayTaskRunner

    def left() -> set[str]:
        return {key for key in store.keys(store.job_prefix()) if "+" in key}

    @flow(task_runner=RayTaskRunner(events=EVENTS))
    def mapping() -> None:
        before = left()  # of runs that were cancelled in another test, and that Ray was not done with when it ended
        futures = key_of_its_own.map(range(MANY))
        assert max(Counter(gather(futures)).values()) > 1
        until(lambda: left() <= before)  # the last group is let go of just after its outcomes

    mapping()
