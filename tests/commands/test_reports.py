"""`anyrunner run --report` and `anyrunner report`, against a real Prefect server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import LogCreate
from prefect.client.schemas.objects import TaskRun
from prefect.events.worker import EventsWorker
from prefect.types import DateTime

from prefect_anyrunner import cli
from prefect_anyrunner._prefect.api import of_flow_run
from prefect_anyrunner._reports import artifact
from prefect_anyrunner._reports import past as past_reports
from prefect_anyrunner.cli.load import load_flow

FLOWS = """
from prefect import flow, task
from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_anyrunner import AnyTaskRunner, gather, settle

@task
def load(day):
    if day == "bad":
        raise ValueError("no such day")

@flow(task_runner=AnyTaskRunner())
def nightly():
    first = load.map(["mon", "tue"])
    settle(first)
    gather([*first, *load.map(["wed", "bad"])])

@task(task_run_name="save-{row}")
def save(row):
    pass

@flow(task_runner=ThreadPoolTaskRunner())
def stock():
    rows = load.map(["mon", "bad", "bad"])
    wait(save.map(save.map(rows)))
    rows[1].result()

@flow
def boom():
    raise KeyError("of the flow")
"""

LOG = """Task run failed with exception: ValueError('no such day') - Retries are exhausted
Traceback (most recent call last):
  File "/x/site-packages/prefect/task_engine.py", line 7, in run
    yield
  File "/flows/nightly.py", line 9, in load
    raise ValueError("no such day")
ValueError: no such day"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANYRUNNER", raising=False)
    (tmp_path / "report_flows.py").write_text(FLOWS)
    return tmp_path


def test_run_writes_one_report_of_all_waits(prefect_server: str, folder: Path) -> None:
    files = ["--report", "report.json", "--report", "report.html", "--report", "report.xml"]
    assert cli.main(["run", "report_flows.py:nightly", *files]) == 1
    data = json.loads((folder / "report.json").read_text())
    assert data["counts"] == {"completed": 3, "failed": 1}
    assert [outcome["index"] for outcome in data["outcomes"]] == [0, 1, 2, 3]
    assert data["outcomes"][3]["inputs"] == "day='bad'"
    assert data["flow_run"]["flow"] == "nightly"
    assert data["flow_run"]["runner"] == "ThreadPoolTaskRunner, thread://"
    assert "<h1>1 of 4 task runs failed</h1>" in (folder / "report.html").read_text()
    assert 'tests="4" failures="1"' in (folder / "report.xml").read_text()


def test_a_flow_that_fails_by_itself_has_a_report_that_says_so(prefect_server: str, folder: Path) -> None:
    assert cli.main(["run", "report_flows.py:boom", "--report", "report.json"]) == 1
    notes = json.loads((folder / "report.json").read_text())["notes"]
    assert notes[0] == "The flow failed by an error of its own: KeyError: 'of the flow'"


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("report.pdf", "--report 'report.pdf': the name must end in one of .txt, .md, .json, .html, .csv, .xml"),
        ("none/report.json", "--report 'none/report.json': the folder 'none' does not exist"),
    ],
)
def test_a_wrong_file_is_one_sentence_before_anything_runs(
    file: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "report_flows.py:boom", "--report", file]) == 2
    assert capsys.readouterr().err == f"anyrunner: {sentence}\n"


def past(flow: Flow[..., Any], runs: int) -> UUID:
    """Run a flow that fails; return its id once the API has its `runs` task runs as they ended, and a log of each."""
    state: Any = flow(return_state=True)
    assert state.is_failed()
    flow_run_id = UUID(str(state.state_details.flow_run_id))
    EventsWorker.instance().drain()
    with get_client(sync_client=True) as client:
        ended: list[TaskRun] = []
        while len(ended) < runs:
            ended = [run for run in of_flow_run(client, flow_run_id) if has_ended(run)]
        entries = [
            LogCreate(
                name="prefect.task_runs",
                level=40,
                message=LOG,
                timestamp=cast(DateTime, run.state.timestamp),
                task_run_id=run.id,
                flow_run_id=flow_run_id,
            )
            for run in ended
            if run.state is not None and run.state.is_failed()
        ]
        client.create_logs(entries)
    return flow_run_id


def has_ended(run: TaskRun) -> bool:
    return run.state is not None and (run.state.is_final() or run.state.name == "NotReady")


def test_report_of_a_past_run_of_a_stock_runner(
    prefect_server: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_reports, "MAX_LOGS", 1)  # the largest group is blocked, and has no logs
    flow_run_id = past(load_flow("report_flows.py:stock"), 9)
    capsys.readouterr()
    assert cli.main(["report", str(flow_run_id)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("9 task runs: 3 completed, 2 failed, 4 blocked\n")
    assert "2 x ValueError: no such day (nightly.py:9 in load): load[" in text
    assert "The flow run is Failed: " in text
    assert "The API knows neither arguments nor workers nor places in a map of task runs." in text
    page = f"http://127.0.0.1:4200/runs/flow-run/{flow_run_id}?tab=Logs"
    assert cli.main(["report", page, "--format", "markdown"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# 2 of 9 task runs failed\n")
    assert r"Blocked by them: 4 (save\[" in text
    assert 'Traceback (most recent call last):\n  File "/flows/nightly.py", line 9, in load\n' in text
    assert cli.main(["report", str(flow_run_id), "-o", "past.json"]) == 0
    data = json.loads((folder / "past.json").read_text())
    assert data["flow_run"]["flow"] == "stock"
    assert data["groups"][1]["traceback"].endswith("ValueError: no such day")


def test_report_of_a_past_run_of_ours_names_its_artifact(
    prefect_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flow_run_id = past(load_flow("report_flows.py:nightly"), 4)
    artifact.wait_until_sent(60)
    capsys.readouterr()
    assert cli.main(["report", str(flow_run_id)]) == 0
    text = capsys.readouterr().out
    assert "1 x ValueError: no such day" in text
    assert "The artifact 'failures-of-nightly' of the flow run has the arguments of failed ones." in text


def test_wrong_flow_runs_are_one_sentence(prefect_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "nightly"]) == 2
    assert capsys.readouterr().err == "anyrunner: 'nightly' is not the id of a flow run\n"
    assert cli.main(["report", str(uuid4())]) == 2
    assert "the API does not know flow run" in capsys.readouterr().err
