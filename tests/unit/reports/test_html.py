"""The page for a browser, and the cell of a notebook."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

from prefect_anyrunner import Outcome, Report, Status, TaskRunsFailed
from prefect_anyrunner._reports import html_rows
from tests.unit.fake_future import FakeFuture
from tests.unit.reports.raised import failed, settled

HOSTILE = "</script><script>alert(1)</script> <img src=http://evil/x> token=hunter2"


@pytest.fixture(autouse=True)
def pages() -> Iterator[None]:
    with temporary_settings({PREFECT_UI_URL: "http://ui", PREFECT_API_URL: None}):
        yield


def report() -> Report:
    root = FakeFuture().fails(failed(HOSTILE))
    return settled(FakeFuture().ends(1), root, FakeFuture("save").is_blocked_by(root))


def rows_in(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="rows">(.*?)</script>', page, re.S)
    rows: dict[str, Any] = json.loads(text)
    return rows


def test_the_page_needs_no_network_and_runs_only_its_own_script() -> None:
    page = report().to_html()
    assert re.findall(r"<(?:link|img|iframe|object|embed|base)\b", page) == []
    assert re.findall(r"""\bsrc\s*=|url\(|@import|fetch\(|XMLHttpRequest""", page.replace("src=http://evil", "")) == []
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page


def test_the_page_has_failures_without_its_script_and_no_markup_of_users() -> None:
    page = report().to_html()
    assert "<h1>1 of 3 task runs failed</h1>" in page
    assert "<b>1 x ValueError</b>: &lt;/script&gt;&lt;script&gt;alert(1)" in page
    assert "Blocked by them: 1 (save[2])" in page
    assert "raised.py" in page
    assert page.count("<script") == page.count("</script>") == 2
    assert "hunter2" not in page


def test_every_run_is_a_row() -> None:
    outcomes = report()
    rows = rows_in(outcomes.to_html())
    assert [rows["tasks"][number] + place for number, place in zip(rows["task"], rows["label"], strict=True)] == [
        "load[0]",
        "load[1]",
        "save[2]",
    ]
    assert [rows["statuses"][number] for number in rows["status"]] == ["completed", "failed", "blocked"]
    assert rows["pages"] == "http://ui/runs/task-run/"
    assert uuid.UUID(bytes=base64.b64decode(rows["ids"])[16:32]) == outcomes[1].task_run_id
    assert sorted(rows["why"]) == ["1", "2"]
    assert rows["why"]["1"][1] == "ValueError"


def test_rows_have_times(monkeypatch: pytest.MonkeyPatch) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    runs = [
        Outcome(
            index=number,
            task_name="load",
            task_run_id=uuid.uuid4(),
            status=Status.COMPLETED if number else Status.FAILED,
            error=None if number else failed("no"),
            started=began + timedelta(seconds=3 - number),
            ended=began + timedelta(seconds=3.25),
        )
        for number in range(3)
    ]
    rows = rows_in(Report(runs).to_html())
    assert (rows["start"], rows["took"]) == ([2000, 1000, 0], [250, 1250, 2250])
    monkeypatch.setattr(html_rows, "MAX_ROWS", 2)
    assert rows_in(Report(runs[::-1]).to_html())["status"].count(rows["statuses"].index("failed")) == 1


def test_notebooks_show_a_small_piece_without_script() -> None:
    many = settled(*(FakeFuture().fails(type(f"E{number}", (ValueError,), {})(HOSTILE)) for number in range(40)))
    with pytest.raises(TaskRunsFailed) as raised:
        many.raise_for_failures()
    for shown in (many._repr_html_(), raised.value._repr_html_()):
        assert len(shown) < 20_000
        assert shown.count("<details>") == 5
        assert "… and 35 more in 35 other groups" in shown
        assert "<script" not in shown
        assert "<img" not in shown
        assert "hunter2" not in shown
    assert "40 of 40 task runs failed" in many._repr_html_()
    assert "TaskRunsFailed: 40 of 40 task runs failed" in raised.value._repr_html_()
