"""Small runs travel to Dask in groups; each is still claimed, told, lost and cancelled by itself."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task, unmapped

from prefect_anyrunner import Report, Status, gather, settle
from prefect_anyrunner.conformance._subject import until

pytestmark = pytest.mark.dask

MANY = 80
"""Runs of one map: enough for groups on the few threads of the tests' cluster."""


def runner(address: str) -> Any:
    from prefect_anyrunner.backends.dask import DaskTaskRunner

    return DaskTaskRunner(address=address)


def note(folder: Path, number: int) -> None:
    with (folder / str(number)).open("a") as file:
        file.write(f"{os.getpid()}\n")


@task
def key_of_its_own(number: int) -> str:
    import distributed

    return str(distributed.get_worker().get_current_task())


@task
def waits_for_the_next(number: int, folder: Path) -> int:
    note(folder, number)
    if number == 0:
        until(lambda: (folder / "1").exists())
    return number


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


@task
def key_and_note(number: int, folder: Path, first: Any = None) -> str:
    note(folder, number)
    return str(key_of_its_own.fn(number))


@task
def key_after(seconds: float) -> str:
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end)
    return str(key_of_its_own.fn(0))


@task
def returns_much(number: int) -> bytes:
    return bytes([number]) * 2**19


def test_one_dask_task_carries_several_runs(dask_cluster: str) -> None:
    @flow(task_runner=runner(dask_cluster))
    def mapping() -> list[str]:
        keys: list[str] = gather(key_of_its_own.map(range(MANY)))
        return keys

    keys = mapping()
    assert 1 < max(Counter(keys).values()) <= 8
    assert len(set(keys)) >= 8, "every thread still gets several tasks"


def test_a_worker_that_is_slow_to_begin_does_not_end_grouping(dask_cluster: str, tmp_path: Path) -> None:
    @flow(task_runner=runner(dask_cluster))
    def mapping() -> list[str]:
        slow = [SlowToUnpack(tmp_path / "1"), *[None] * (MANY - 1)]  # 1 is in the group of 0, and is given back
        gather(key_and_note.map(range(MANY), folder=unmapped(tmp_path), first=slow))
        keys: list[str] = gather(key_and_note.map(range(MANY), folder=unmapped(tmp_path)))
        return keys

    assert max(Counter(mapping()).values()) > 1


def test_long_runs_are_not_grouped_once_that_is_known(dask_cluster: str) -> None:
    @flow(task_runner=runner(dask_cluster))
    def mapping() -> list[str]:
        gather([key_after.submit(0.06)])
        keys: list[str] = gather(key_after.map([0] * MANY))
        return keys

    assert max(Counter(mapping()).values()) == 1


def test_a_run_never_waits_for_another_of_its_group(dask_cluster: str, tmp_path: Path) -> None:
    @flow(task_runner=runner(dask_cluster))
    def mapping() -> Any:
        return gather(waits_for_the_next.map(range(MANY), folder=unmapped(tmp_path)))

    assert mapping() == list(range(MANY))
    assert {len((tmp_path / str(number)).read_text().split()) for number in range(MANY)} == {1}


def test_a_worker_that_dies_takes_one_run_of_a_group(dask_cluster: str, tmp_path: Path) -> None:
    @flow(task_runner=runner(dask_cluster))
    def mapping() -> Report:
        return settle(kills_its_worker.map(range(MANY), folder=unmapped(tmp_path), victim=unmapped(9)))

    report = mapping()
    assert {outcome.index for outcome in report if outcome.status is not Status.COMPLETED} == {9}
    assert report[9].status is Status.CRASHED
    assert {len((tmp_path / str(number)).read_text().split()) for number in range(MANY)} == {1}


def test_large_results_of_a_group_arrive_each_for_itself(dask_cluster: str) -> None:
    @flow(task_runner=runner(dask_cluster))
    def mapping() -> Any:
        return gather(returns_much.map(range(MANY)))

    assert mapping() == [bytes([number]) * 2**19 for number in range(MANY)]
