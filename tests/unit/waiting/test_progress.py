"""The progress of a wait: passed to a function, drawn on a terminal, otherwise not shown."""

from __future__ import annotations

import logging
import pty
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import pytest
from prefect.logging.handlers import PrefectConsoleHandler

from prefect_anyrunner import settle
from prefect_anyrunner._waiting.progress import following
from tests.unit.fake_future import FakeFuture

BAR = "\N{BOX DRAWINGS HEAVY HORIZONTAL}"


@contextmanager
def terminal() -> Iterator[list[str]]:
    """Make stderr a terminal; afterwards the list holds the text of all its lines, including those erased since."""
    seen: list[str] = []
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen, open(theirs, "w", encoding="utf-8") as stderr:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TERM", "xterm")
            patch.setattr(sys, "stderr", stderr)
            yield seen
        print("end", file=stderr, flush=True)
        text = b""
        while not text.endswith(b"end\r\n"):
            text += screen.read(65536)
    seen += re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode()))


def test_progress_is_passed_to_the_function() -> None:
    calls: list[tuple[int, int, int | None]] = []
    settle([FakeFuture().ends(), FakeFuture().fails(ValueError())], progress=lambda *facts: calls.append(facts))
    assert calls == [(2, 1, 2)]


def test_no_bar_is_drawn_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    settle([FakeFuture().ends()], progress=True)
    assert capsys.readouterr() == ("", "")


def test_a_bar_shows_how_many_runs_have_ended_and_failed() -> None:
    with terminal() as seen:
        settle([FakeFuture().ends(), FakeFuture().fails(ValueError())], progress=True)
    assert any(BAR in line and "2/2 1 failed" in line for line in seen)


def test_a_notebook_gets_its_bar_below_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def display(html: str, display_id: bool) -> SimpleNamespace:
        assert display_id
        shown.append(html)
        return SimpleNamespace(update=shown.append)

    # The test environment has no IPython; this is what a kernel's answers to.
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    shows = ModuleType("IPython.display")
    shows.HTML, shows.display = str, display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shows)
    settle([FakeFuture().ends(), FakeFuture().fails(ValueError())], progress=True)
    assert 'max="2"' in shown[0] and "0 of 2 task runs have ended, 0 failed" in shown[0]
    assert 'value="2" max="2"' in shown[-1] and "2 of 2 task runs have ended, 1 failed" in shown[-1]


def test_logs_appear_above_the_bar_and_prints_stay_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal() as seen:
        handler = PrefectConsoleHandler(stream=sys.stderr)
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            with following(True, 3) as follow:
                follow(1, 0, 3)
                root.error("a line of a log")
                print("a result")
                follow(3, 0, 3)
            root.error("after the bar")
        finally:
            root.removeHandler(handler)
    assert any(BAR in line for line in seen)
    assert "a line of a log" in seen  # on a line of its own
    assert "after the bar" in seen
    assert capsys.readouterr().out == "a result\n"  # stdout is no terminal: a file, say


def test_progress_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="progress must be a function"):
        settle([FakeFuture().ends()], progress="yes")  # type: ignore[arg-type]
