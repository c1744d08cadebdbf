"""What is printed of a combined failure: a traceback per group, own frames, the summary last; and for printers only."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings
from prefect.utilities.callables import call_with_parameters
from rich.console import Console
from rich.traceback import Traceback

from prefect_anyrunner import Outcome, Report, Status, TaskRunsFailed


@pytest.fixture(autouse=True)
def no_pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("ANYRUNNER_TRACEBACKS", raising=False)
    with temporary_settings({PREFECT_UI_URL: "", PREFECT_API_URL: None}):
        yield


def parse(row: int) -> None:
    raise ValueError(f"row {row}: cannot parse")


def fetch(row: int) -> None:
    if row % 2:
        raise ConnectionError(f"no answer from {'abcdefghijklmnop'[row % 16]}.example.com")
    parse(row)


def raised(number: int) -> Exception:
    try:
        call_with_parameters(fetch, {"row": number})  # as Prefect calls a body
    except Exception as error:
        error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None  # without this test's frame
        return error
    raise AssertionError


def failure(size: int = 500) -> TaskRunsFailed:
    outcomes = [
        Outcome(index=number, path=(number,), task_name="fetch", status=Status.FAILED, error=raised(number))
        for number in range(size)
    ]
    with pytest.raises(TaskRunsFailed) as caught:
        Report(outcomes).raise_for_failures()
    return caught.value


def by_traceback(group: TaskRunsFailed) -> str:
    return "".join(traceback.format_exception(group))


def by_logging(group: TaskRunsFailed) -> str:
    return logging.Formatter().formatException((type(group), group, group.__traceback__))


def by_rich(group: TaskRunsFailed) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(Traceback.from_exception(type(group), group, group.__traceback__))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("printed_by", [by_traceback, by_logging, by_rich])
def test_there_is_one_traceback_per_group_and_the_summary_is_last(printed_by: Callable[[TaskRunsFailed], str]) -> None:
    text = printed_by(failure())
    lines = text.splitlines()
    assert len(lines) < 150
    assert max(map(len, lines)) < 700
    assert text.count("ValueError: row 0: cannot parse\n") + text.count("ValueError: row 0: cannot parse  ") == 1
    assert text.count("and 249 more like it") == 2
    last = text.partition("Summary: 500 of 500 task runs failed")[2]
    assert "250 x ValueError: row 0: cannot parse (test_printed.py:" in last
    assert "fetch[3]: no answer from d.example.com" in last
    assert "Traceback" not in last


def test_the_frames_that_led_to_a_body_are_left_out() -> None:
    _, first, second, *_ = by_traceback(failure()).split("+---------------- ")
    assert "callables" not in first + second
    assert first.count("File ") == 2 and "in fetch" in first and "in parse" in first
    assert second.count("File ") == 1


def test_one_failure_needs_no_summary() -> None:
    text = by_traceback(failure(1))
    assert "Summary" not in text
    assert text.count("ValueError: row 0") == 2, "in the message and below the traceback"


def test_all_is_printed_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRUNNER_TRACEBACKS", "all")
    text = by_traceback(failure())
    assert text.count("| Traceback (most recent call last)") == 500
    assert "more exceptions" not in text
    assert text.count("in call_with_parameters") == 500
    assert "Summary: 500 of 500 task runs failed" in text


def test_whoever_does_not_print_gets_all_members() -> None:
    group = failure()
    by_traceback(group)
    assert len(group.exceptions) == 500
    values, others = group.split(ValueError)
    assert values is not None and others is not None
    assert (len(values.exceptions), len(others.exceptions)) == (250, 250)
    assert all(type(member) in (ValueError, ConnectionError) for member in group.exceptions)
    assert "call_with_parameters" in "".join(traceback.format_exception(group.exceptions[0]))


def test_pytest_can_print_it() -> None:
    """It walks through what `traceback` has read and through the members at once; the plugin replaces this text."""
    with pytest.raises(TaskRunsFailed) as caught:
        raise failure(20)
    assert "and 5 more exceptions" in str(caught.getrepr())
    assert caught.group_contains(ConnectionError)


def test_a_part_prints_its_own_summary() -> None:
    values = failure().subgroup(ValueError)
    assert values is not None
    text = by_traceback(values)  # type: ignore[arg-type]  # a TaskRunsFailed, which typeshed cannot know
    assert "Summary: 250 of 500 failed task runs\n" in text
    assert "ConnectionError" not in text


def test_causes_and_notes_are_printed() -> None:
    error = raised(0)
    error.__cause__ = raised(1)
    error.add_note("on Tuesday")
    outcome = Outcome(task_name="fetch", status=Status.FAILED, error=error)
    with pytest.raises(TaskRunsFailed) as caught:
        Report([outcome]).raise_for_failures()
    text = by_traceback(caught.value)
    assert "on Tuesday" in text
    assert "ConnectionError: no answer from b.example.com" in text
    assert "The above exception was the direct cause" in text


def test_members_without_outcomes_are_printed_as_they_are() -> None:
    group = TaskRunsFailed("by hand", [ValueError("one"), ExceptionGroup("two", [KeyError("three")])])
    text = by_traceback(group)
    assert "ValueError: one" in text and "KeyError: 'three'" in text and "Summary" not in text


SCRIPT = """
import sys
from prefect_anyrunner import Outcome, Report, Status

def fail():
    outcomes = [
        Outcome(index=number, path=(number,), task_name="load", status=Status.FAILED, error=ValueError(number))
        for number in range(30)
    ]
    Report(outcomes).raise_for_failures()
"""


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("fail()", "Summary: 30 of 30 task runs failed"),
        ("try: fail()\nexcept Exception as error: raise RuntimeError('outer') from error", "RuntimeError: outer"),
        ("try: fail()\nexcept Exception: pass\nraise KeyError('k')", "KeyError: 'k'"),
        ("sys.excepthook = lambda *_: print('mine', file=sys.stderr)\nfail()", "mine"),
    ],
)
def test_plain_python_prints_it(tmp_path: Path, more: str, expected: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT + more)
    ran = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 1
    assert expected in ran.stderr
    assert len(ran.stderr.splitlines()) < 40


def test_plain_python_prints_own_frames_only(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT + "fail()")
    ran = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stderr.count("File ") == ran.stderr.count('script.py", line') == 2
