"""The page's script, in Chromium: filters, timeline, table of runs, mouse and keyboard."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

from prefect_anyrunner import Outcome, Report, Status
from tests.unit.reports.browser import Browser, browser, missing
from tests.unit.reports.raised import failed

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
RUNS = 5_000


def outcome(number: int) -> Outcome:
    """Return one of many runs on four workers: each tenth is of the task `save`, and each hundredth fails."""
    bad = number % 100 == 7
    started = BEGAN + timedelta(seconds=number // 4)
    return Outcome(
        index=number,
        path=(number,),
        task_name="load" if number % 10 else "save",
        task_run_id=uuid.UUID(int=number),
        status=Status.FAILED if bad else Status.COMPLETED,
        error=failed(f"no day <b>{number}</b>") if bad else None,
        inputs=f"day={number}" if bad else "",
        started=started,
        ended=started + timedelta(milliseconds=900),
        worker=f"worker-{number % 4}",
    )


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    with temporary_settings({PREFECT_UI_URL: "http://ui", PREFECT_API_URL: None}):
        path.write_text(Report(map(outcome, range(RUNS))).to_html())
    return path


@pytest.fixture
def page(window: Browser, file: Path) -> Iterator[Browser]:
    window.open(file)
    yield window
    assert window.problems() == []


def found(page: Browser, text: str) -> None:
    """Wait until the page says how many runs it has found."""
    page.until(f"return document.getElementById('found').textContent.startsWith('{text}')")


def choose(page: Browser, filter_id: str, text: str) -> None:
    """Choose an option as somebody does who has moved to the filter with the Tab key."""
    page.run(f"document.getElementById('{filter_id}').focus()")
    page.press(text)


def test_the_filters_narrow_the_table(page: Browser) -> None:
    found(page, "5,000 task runs, 50 of them not completed")
    choose(page, "status", "failed")
    found(page, "50 task runs, 50 of")
    choose(page, "task", "load")
    found(page, "50 task runs")
    choose(page, "text", "day=107 valueerror <b>107")
    found(page, "1 task run, 1 of")
    row = page.run("return document.querySelector('#table tbody tr').innerText")
    assert row.split("\t") == [
        "load[107]", "failed", "26.00 s", "900 ms", "worker-3", "day=107 ValueError: no day <b>107</b>",
    ]  # fmt: skip
    assert page.run("return document.querySelector('#table a').href").endswith(str(uuid.UUID(int=107)))
    page.run("document.querySelector('button[type=reset]').click()")
    found(page, "5,000 task runs")
    choose(page, "worker", "worker-2")
    found(page, "1,250 task runs, 0 of")


def test_the_keyboard_reaches_everything(page: Browser) -> None:
    reached: list[str] = []
    while "on" not in reached:
        page.press("Tab")
        reached.append(page.run("return document.activeElement.id || document.activeElement.localName"))
        assert len(reached) < 20, reached
    assert reached == [*("summary", "status", "task", "worker", "text", "order", "button", "lanes", "summary", "on")]
    page.run("document.getElementById('lanes').focus()")
    page.press("Down", "Down", "Right", "Right")
    caption = page.run("return document.getElementById('under').textContent")
    assert caption.startswith("worker-2, ")
    page.press("Enter")
    found(page, "1,250 task runs")
    assert page.run("return document.getElementById('worker').selectedOptions[0].text") == "worker-2"
    page.press("Enter")
    found(page, "5,000 task runs")
    assert page.run("return document.getElementById('under').textContent") == caption
    page.press("Escape")
    assert page.run("return document.getElementById('under').textContent").startswith("Green: runs at work.")


def test_the_last_page_keeps_the_focus(page: Browser) -> None:
    choose(page, "worker", "worker-2")
    found(page, "1,250 task runs")
    page.run("document.getElementById('on').focus()")
    page.press(*["Enter"] * 12)
    assert page.run("return document.getElementById('place').textContent") == "page 13 of 13"
    assert page.run("return document.activeElement.id") == "back"
    page.press("Enter")
    assert page.run("return document.getElementById('place').textContent") == "page 12 of 13"


def test_the_timeline_has_its_width_again_after_a_filter_that_finds_nothing(page: Browser) -> None:
    choose(page, "text", "no such run")
    found(page, "0 task runs")
    assert page.run("return document.getElementById('timeline').hidden")
    page.run("document.querySelector('button[type=reset]').click()")
    found(page, "5,000 task runs")
    assert page.run("const lanes = document.getElementById('lanes'); return lanes.width - lanes.clientWidth") == 0


def test_the_pointer_names_a_place_of_the_timeline_and_a_click_filters(page: Browser) -> None:
    page.run("document.getElementById('lanes').scrollIntoView()")
    left, top = page.run("const box = lanes.getBoundingClientRect(); return [box.left, box.top]")
    page.point(round(left) + 400, round(top) + 27)
    assert page.run("return document.getElementById('under').textContent").startswith("worker-1, ")
    page.point(round(left) + 400, round(top) + 27, click=True)
    found(page, "1,250 task runs")


def test_times_are_rounded_once(page: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    ends = [59.999, 119.7, 3599.9]
    runs = [
        Outcome(
            index=index, task_name="load", status=Status.COMPLETED, started=BEGAN, ended=BEGAN + timedelta(seconds=end)
        )
        for index, end in enumerate(ends)
    ]
    path.write_text(Report(runs).to_html())
    page.open(path)
    shown = page.run(
        "return Array.from(document.querySelectorAll('#table tbody td:nth-child(4)'), each => each.innerText)"
    )
    assert shown == ["1 min 0 s", "2 min 0 s", "1 h 0 min"]


def test_a_dark_page_is_dark(page: Browser) -> None:
    colors = []
    for preferred in ("light", "dark"):
        page.prefer(preferred)
        colors.append(page.run("return getComputedStyle(document.body).backgroundColor"))
    assert colors == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]
