"""`anyrunner run --report`, against a real Prefect server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefect_anyrunner import cli

FLOWS = """
from prefect import flow, task
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

@flow
def boom():
    raise KeyError("of the flow")
"""


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
