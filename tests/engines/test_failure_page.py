"""The artifact that describes the failures of a flow run."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, runtime, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from prefect_anyrunner import AnyTaskRunner, TaskRunsFailed, agather, gather, map_settled, settle
from prefect_anyrunner._reports import artifact

pytestmark = pytest.mark.usefixtures("prefect_server")


@task
def load(day: str, token: str = "hunter2") -> str:
    if day.startswith("bad"):
        raise ValueError(f"cannot load {day}")
    return day


@task
def save(day: str) -> None:
    pass


def pages(flow_run_id: UUID) -> list[Any]:
    artifact.wait_until_sent(60)
    with get_client(sync_client=True) as client:
        of_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
        found = client.read_artifacts(flow_run_filter=of_run)
    return [each for each in found if each.type == "markdown"]


def test_a_failed_flow_run_has_one_page() -> None:
    ids: list[UUID] = []

    @flow(name="Nightly load", task_runner=AnyTaskRunner("thread"))
    def nightly() -> None:
        ids.append(UUID(runtime.flow_run.id))
        days = load.map(["mon", "bad tue"])
        with pytest.raises(TaskRunsFailed):
            gather([days, save.map(days)])
        with pytest.raises(TaskRunsFailed):
            gather(days)
        gather(load.map(["bad wed", "thu"]))

    with pytest.raises(TaskRunsFailed):
        nightly()
    (page,) = pages(ids[0])
    assert page.key == "failures-of-nightly-load"
    assert page.data.startswith("# 1 of 2 task runs failed")
    assert page.data.count("# 1 of 4 task runs failed") == 1
    assert "cannot load bad wed" in page.data.partition("\n---\n")[0]
    assert "on `ThreadPoolTaskRunner, thread://`, chosen by argument spec." in page.data
    assert "`day='bad tue', token=***`" in page.data
    assert r"Blocked by them: 1 (save\[1\])" in page.data
    assert "hunter2" not in page.data


def test_async_flows_have_one_too() -> None:
    @flow(task_runner=AnyTaskRunner("thread"))
    async def nightly() -> UUID:
        with pytest.raises(TaskRunsFailed):
            await agather(load.map(["bad tue"]))
        return UUID(runtime.flow_run.id)

    assert len(pages(asyncio.run(nightly()))) == 1


@pytest.mark.parametrize("way", ["asked for", "not asked for", "refused", "off", "in a task"])
def test_when_there_is_one(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @task
    def outer() -> None:
        with pytest.raises(TaskRunsFailed):
            gather(load.map(["bad tue"]))

    @flow(task_runner=AnyTaskRunner("thread"))
    def nightly() -> UUID:
        if way == "asked for":
            assert settle(load.map(["mon"]), report=True).ok
            assert not map_settled(load, ["mon", "bad tue"], report=True).ok
        elif way == "not asked for":
            assert not settle(load.map(["bad tue"])).ok
        elif way == "in a task":
            gather(outer.submit())
        else:
            with pytest.raises(TaskRunsFailed):
                gather(load.map(["bad tue"]), report=False if way == "refused" else None)
        return UUID(runtime.flow_run.id)

    if way == "off":
        monkeypatch.setenv("ANYRUNNER_REPORT", "off")
    found = pages(nightly())
    assert len(found) == (way == "asked for")
    if found:
        assert "# 1 of 2 task runs failed" in found[0].data
        assert "# 1 task run, and none failed" in found[0].data


def test_an_api_that_refuses_it_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(artifact, "key_of", lambda _: "Not A Key")
    monkeypatch.setattr(logging.getLogger("prefect"), "propagate", True)

    @flow(task_runner=AnyTaskRunner("thread"))
    def nightly() -> UUID:
        with pytest.raises(TaskRunsFailed, match="cannot load"):
            gather(load.map(["bad tue"]))
        return UUID(runtime.flow_run.id)

    with caplog.at_level(logging.WARNING, logger="prefect.anyrunner"):
        assert pages(nightly()) == []
    assert "The report of the failures could not be sent to the Prefect API" in caplog.text


def test_report_is_true_false_or_none() -> None:
    with pytest.raises(TypeError, match="report must be True, False or None, not 'off'"):
        settle([], report="off")  # type: ignore[arg-type]
