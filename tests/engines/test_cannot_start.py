"""A flow run whose runner cannot start runs nothing, and ends in the API with the sentence of the error."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun

from prefect_anyrunner import AnyTaskRunner, BackendUnavailable, EngineUnreachable, SpecError

pytestmark = pytest.mark.usefixtures("prefect_server")
SCRIPT = """
from prefect import flow
from prefect_anyrunner import AnyTaskRunner

@flow(task_runner=AnyTaskRunner())
def nightly():
    print("the body runs")

nightly()
"""


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANYRUNNER", "thraed")


@pytest.fixture
def dead() -> Iterator[str]:
    """Give a Dask address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"dask://127.0.0.1:{taken.getsockname()[1]}?connect_timeout=1"


ran: list[str] = []


@task
def note(what: str) -> None:
    ran.append(what)


@flow(task_runner=AnyTaskRunner())
def function(number: int) -> None:
    ran.append("function")


@flow(task_runner=AnyTaskRunner())
async def coroutine(number: int) -> None:
    ran.append("coroutine")


@flow(task_runner=AnyTaskRunner())
def generator(number: int) -> Iterator[int]:
    ran.append("generator")
    yield number


@flow(task_runner=AnyTaskRunner())
async def async_generator(number: int) -> AsyncIterator[int]:
    ran.append("async generator")
    yield number


def call(a_flow: Any) -> None:
    async def drain() -> None:
        async for _ in a_flow(1):
            pass

    if a_flow.isgenerator:
        asyncio.run(drain()) if a_flow.isasync else list(a_flow(1))
    elif a_flow.isasync:
        asyncio.run(a_flow(1))
    else:
        a_flow(1)


def the_run(name: str) -> FlowRun:
    with get_client(sync_client=True) as client:
        (found,) = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[name])))
    return found


def ended(name: str) -> tuple[str, str | None]:
    """Return the state and its message of the only run of a flow."""
    state = the_run(name).state
    assert state is not None
    return state.name or "", state.message


@pytest.mark.parametrize("a_flow", [function, coroutine, generator, async_generator], ids=lambda each: each.name)
def test_a_misspelt_runner_ends_the_flow_run_failed(a_flow: Any) -> None:
    a_flow = a_flow.with_options(name=f"{a_flow.name} misspelt")
    with pytest.raises(SpecError, match="unknown runner 'thraed'; did you mean 'thread'") as caught:
        call(a_flow)
    assert ended(a_flow.name) == ("Failed", str(caught.value))
    assert ran == []


@pytest.mark.dask
@pytest.mark.parametrize("a_flow", [function, coroutine, generator, async_generator], ids=lambda each: each.name)
def test_a_dead_address_ends_the_flow_run_crashed(a_flow: Any, dead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRUNNER", dead)
    a_flow = a_flow.with_options(name=f"{a_flow.name} dead")
    with pytest.raises(EngineUnreachable, match="No Dask scheduler answered") as caught:
        call(a_flow)
    assert ended(a_flow.name) == ("Crashed", str(caught.value))
    assert ran == []


@pytest.mark.ray
def test_a_runner_in_the_code_ends_the_flow_run_as_well() -> None:
    from prefect_anyrunner.backends.ray import RayTaskRunner

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{taken.getsockname()[1]}"
        a_flow = function.with_options(name="in the code", task_runner=RayTaskRunner(address))
        with pytest.raises(EngineUnreachable) as caught:
            a_flow(1)
    assert ended(a_flow.name) == ("Crashed", str(caught.value))
    assert ran == []


def test_a_missing_extra_ends_the_flow_run_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "prefect_ray" else find(name))
    a_flow = function.with_options(name="without the extra")
    monkeypatch.setenv("ANYRUNNER", "ray")
    with pytest.raises(BackendUnavailable, match="pip install") as caught:
        a_flow(1)
    assert ended(a_flow.name) == ("Failed", str(caught.value))


def test_the_state_is_returned_and_hooks_are_called() -> None:
    called: list[tuple[str, str | None]] = []
    a_flow = function.with_options(
        name="with a hook",
        on_failure=[lambda _, run, state: called.append((str(run.id), state.message))],
        on_completion=[lambda *_: called.append(("completed", None))],
    )
    state: Any = a_flow(1, return_state=True)
    assert state.is_failed()
    assert called == [(str(the_run(a_flow.name).id), state.message)]


def test_a_subflow_fails_where_it_is_called() -> None:
    child = function.with_options(name="a child that cannot start")

    @flow(name="parent of one that cannot start")
    def parent() -> str:
        with pytest.raises(SpecError, match="thraed"):
            child(1)
        note.submit("after it").result()
        return "went on"

    assert parent() == "went on"
    assert ended(child.name)[0] == "Failed"
    assert ended(parent.name)[0] == "Completed"
    assert ran.pop() == "after it"


def test_retries_are_not_spent_on_a_misspelt_runner() -> None:
    a_flow = function.with_options(name="misspelt with retries", retries=3)
    with pytest.raises(SpecError):
        a_flow(1)
    assert (the_run(a_flow.name).run_count, ended(a_flow.name)[0]) == (1, "Failed")


@pytest.mark.dask
@pytest.mark.parametrize("comes_back", [True, False])
def test_retries_are_used_while_no_engine_answers(dead: str, comes_back: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRUNNER", dead)

    def before_each_attempt(flow: Any, flow_run: Any, state: Any) -> None:
        if comes_back and attempts:
            monkeypatch.setenv("ANYRUNNER", "thread")
        attempts.append(state.name)

    attempts: list[str] = []
    a_flow = function.with_options(name=f"dead with retries, {comes_back}", retries=1, on_running=[before_each_attempt])
    state: Any = a_flow(1, return_state=True)
    assert (the_run(a_flow.name).run_count, state.name) == (2, "Completed" if comes_back else "Crashed")
    assert [ran.pop() for _ in range(len(ran))] == ["function"] * comes_back


def test_a_script_ends_with_the_sentence(tmp_path: Path) -> None:
    (tmp_path / "nightly.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "nightly.py"], cwd=tmp_path, env={**os.environ, "PREFECT_LOGGING_LEVEL": "INFO"},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "the body runs" not in done.stdout
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("prefect_anyrunner.SpecError: environment variable ANYRUNNER: unknown runner 'thraed'")
    assert done.stderr.count("Traceback") == 1 and len(lines) < 30, done.stderr
