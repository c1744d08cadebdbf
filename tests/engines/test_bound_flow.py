"""What a flow itself holds need not travel: its body runs where it was started, on every runner alike."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, tags, task

from prefect_anyrunner import CannotTravel, Status, pick, settle
from prefect_anyrunner.backends.process import ProcessPoolTaskRunner
from prefect_anyrunner.backends.thread import ThreadPoolTaskRunner
from prefect_anyrunner.conformance.checks import shown

SCRIPT = Path(__file__).with_name("bound_flow.py")
EXPECTED = {
    "numbers": [2, 6],
    "subflow": 10,
    "about": ["bound", "bound", "7", 2, "yes"],
    "parent": 14,
    "refused": "CannotTravel",
}


@pytest.mark.parametrize(
    "spec",
    [
        "thread",
        "thread://?portable=true",
        "process://?max_workers=2",
        pytest.param("dask", marks=pytest.mark.dask),
        pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow]),
    ],
)
def test_a_flow_may_hold_what_cannot_travel(
    spec: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, prefect_server: str
) -> None:
    if spec == "dask":
        address: str = request.getfixturevalue("dask_cluster")
        spec = address.replace("tcp://", "dask://")
    elif spec == "ray":
        monkeypatch.setenv("RAY_ADDRESS", request.getfixturevalue("ray_head"))
    done = subprocess.run([sys.executable, str(SCRIPT), spec], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    expected = EXPECTED | ({"refused": "int"} if spec == "thread" else {})
    assert json.loads(done.stdout.splitlines()[-1]) == expected


class Bound:
    """What refuses to leave its process, and says so only there."""

    def __reduce__(self) -> Any:
        raise TypeError("it is bound to its process")


class Unread:
    """What leaves its process and cannot be read in another."""

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it cannot be read")

    def __getstate__(self) -> Any:
        return {"a": 1}


@task
def echo(value: Any) -> Any:
    return value


@task
def tagged() -> list[str]:
    from prefect.context import TaskRunContext

    context = TaskRunContext.get()
    assert context is not None
    return sorted(context.task_run.tags)


@task
def returns_future() -> Any:
    return echo.submit(3)


@task
def raises_lock() -> None:
    error = ValueError("holds a lock")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


@pytest.mark.parametrize("spec", ["thread://?portable=true", "process://?max_workers=2"])
def test_portable_threads_do_as_processes_do(spec: str, prefect_server: str) -> None:
    """Each answer is the same: both send, and take back, by the same code."""
    large = bytearray(2**20)

    @flow(task_runner=pick(spec))
    def sending(given: Any) -> list[Any]:
        mine = [1]
        changed: Any = echo.submit(mine)
        mine.append(2)  # too late: what is submitted is what travels
        with tags("one"):
            under: Any = tagged.submit()
        report = settle(
            [
                changed,
                under,
                echo.submit(Bound()),
                echo.submit(Unread()),
                echo.submit(large),
                returns_future.submit(),
                raises_lock.submit(),
            ]
        )
        for outcome in report:
            state = shown(outcome)
            assert state is not None
            assert state.type.value == {"completed": "COMPLETED", "failed": "FAILED"}[outcome.status.value]
        one, two, bound, unread, copied, future, error = report
        assert copied.value == large
        assert copied.value is not large
        assert {type(each.error) for each in (bound, unread)} == {CannotTravel}
        assert isinstance(error.error, ValueError)
        assert "lock object" in vars(error.error)["lock"]  # its text stands for it
        assert future.status is Status.COMPLETED, future.error
        return [one.value, two.value, str(bound.error), str(unread.error), str(error.error), error.attempts]

    answers = sending(Bound())  # a parameter that cannot travel is left out, as no task asked for it
    assert answers[:2] == [[1], ["one"]]
    assert answers[2].startswith("argument 'value' of task 'echo' cannot travel to another process")
    assert "cannot be rebuilt" in answers[3]
    assert answers[4:] == ["holds a lock", 1]


class BoundThreads(ThreadPoolTaskRunner):
    def __reduce__(self) -> Any:
        raise TypeError("it is bound to its process")


class BoundProcesses(ProcessPoolTaskRunner):
    def __reduce__(self) -> Any:
        raise TypeError("it is bound to its process")


@pytest.mark.parametrize("runner", [BoundThreads(portable=True), BoundProcesses(2)], ids=["thread", "process"])
def test_a_context_that_cannot_travel_fails_every_run(runner: Any, prefect_server: str) -> None:
    @flow(task_runner=runner)
    def sending() -> list[Any]:
        return [(each.status, str(each.error)) for each in settle(echo.map([1, 2]))]

    answers = sending()
    assert [status for status, _ in answers] == [Status.FAILED] * 2
    assert all("the context of the flow run cannot travel" in text for _, text in answers)
