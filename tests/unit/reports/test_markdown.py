"""The page of Markdown: bounded, escaped, without secrets, blocked runs under the group that blocked them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

from prefect_anyrunner import Outcome, Report, Status
from prefect_anyrunner._reports import artifact
from prefect_anyrunner._reports.digest import digest_of
from prefect_anyrunner._reports.markdown import MAX_PAGE, block, code, page, plain
from prefect_anyrunner._reports.origin import Origin
from tests.unit.fake_future import FakeFuture
from tests.unit.reports.raised import failed, settled

ORIGIN = Origin(uuid.UUID(int=7), "brave-otter", "nightly", "DaskTaskRunner, dask://?n_workers=4", "argument spec")


@pytest.fixture(autouse=True)
def pages() -> Iterator[None]:
    with temporary_settings({PREFECT_UI_URL: "http://ui", PREFECT_API_URL: None}):
        yield


def page_of(report: Report) -> str:
    return page(digest_of(report), ORIGIN)


def test_it_says_what_failed_where_and_which_runs() -> None:
    root = FakeFuture().fails(failed("no such day"))
    blocked = FakeFuture("save").is_blocked_by(root)
    text = page_of(settled(FakeFuture().ends(1), root, blocked, FakeFuture("save").crashes("its worker died")))
    assert text.startswith(
        "# 2 of 4 task runs failed\n\n**1** completed · **1** failed · **1** crashed · **1** blocked"
    )
    assert "Flow run [brave-otter](http://ui/runs/flow-run/" in text
    assert "of `nightly`, on `DaskTaskRunner, dask://?n_workers=4`, chosen by argument spec." in text
    run = rf"[load\[1\]](http://ui/runs/task-run/{root.task_run_id})"
    assert re.search(
        rf"\| 1 \| 1 \| 1 \| \*\*ValueError\*\*: no such day \| `raised.py:\d+ in failed` \| {re.escape(run)} \|", text
    )
    assert r"Blocked by them: 1 (save\[2\])" in text
    assert "## 2. 1 x crashed\n" in text
    assert "raise ValueError(text)\nValueError: no such day\n```" in text
    assert f"`anyrunner report {ORIGIN.flow_run_id} -o report.html`" in text


def test_texts_of_users_are_no_markup_and_no_secrets() -> None:
    hostile = "| # [x](http://evil) <img src=x> `a` *b*\n## heading https://me:hunter2@host token=hunter2"
    text = page_of(settled(FakeFuture().fails(failed(hostile))))
    assert "hunter2" not in text
    shown = text.partition("```")[0]
    assert "](http://evil)" not in shown
    assert "<img" not in re.sub(r"\\<", "", shown)
    (row,) = [line for line in shown.splitlines() if line.startswith("| 1 |")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 7


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a|b\nc", r"a\|b c"),
        ("<b>&amp;", r"\<b\>&amp;amp;"),
        ("www.host http://host", r"www\.host http\://host"),
        ("load_day _x_ __init__ 1_000", r"load_day \_x\_ \_\_init\_\_ 1_000"),
    ],
)
def test_plain_text(text: str, markdown: str) -> None:
    assert plain(text) == markdown


def test_code_holds_backticks() -> None:
    assert code("a`b|") == "`` a`b\\| ``"
    assert block("```\n# no heading") == "````text\n```\n# no heading\n````"


def test_ten_thousand_failures_are_one_readable_page() -> None:
    class Wide(Exception):
        pass

    kinds = [type(f"Wide{number}", (Wide,), {}) for number in range(40)]
    outcomes = [
        Outcome(
            index=number,
            path=(number,),
            task_name="load",
            task_run_id=uuid.uuid4(),
            status=Status.FAILED,
            error=kinds[number % 40](f"{number:05} " + "x" * 5000 + "\n" + "y\n" * 500),
            inputs="day=" + "z" * 150,
        )
        for number in range(10_000)
    ]
    text = page_of(Report(outcomes))
    assert len(text) <= MAX_PAGE
    assert text.startswith("# 10,000 of 10,000 task runs failed")
    assert "| | 7,500 | | in 30 other groups | | |" in text
    assert "## 10. 250 x " in text
    assert text.count("\n") < 900
    assert max(map(len, text.splitlines())) < 1000


def test_a_page_of_many_waits_has_the_last_ones_and_counts_the_rest() -> None:
    sent = artifact._Page(ORIGIN)
    sent._sections = [f"# {number}\n{'x' * 20_000}\n" for number in range(5)]
    sent._left_out = 7
    text = sent._text()
    assert len(text) <= MAX_PAGE
    assert text.startswith("# 0\n")
    assert text.endswith("\n---\n\nEarlier waits that failed, too: 10\n")


def test_the_table_has_no_long_words_because_they_would_not_break() -> None:
    path = "/data/" + "x" * 60
    text = page_of(settled(FakeFuture().fails(failed(f"no file {path}"))))
    (row,) = [line for line in text.splitlines() if line.startswith("| 1 |")]
    assert f"no file {path[:23]}… |" in row
    assert f"\n\nno file {path}\n\n" in text
