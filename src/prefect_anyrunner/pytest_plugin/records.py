"""What each runner reported for a test."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from prefect_anyrunner.pytest_plugin.side_by_side import beside

if TYPE_CHECKING:
    pass


class _Records:
    """Compares what tests recorded on each runner, once all have run: on xdist's controller, too."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], dict[str, str]] = {}  # (test, name) -> runner -> text

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            told: Any
            for kind, told in report.user_properties:
                if kind == "anyrunner":
                    test, runner, name, text = told
                    self._records.setdefault((test, name), {})[runner] = text

    def _different(self) -> dict[tuple[str, str], dict[str, str]]:
        return {key: texts for key, texts in self._records.items() if len(set(texts.values())) > 1}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._different() and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for (test, name), texts in self._different().items():
            terminalreporter.section(f"{test}: {name!r} differs between runners", sep="-", red=True)
            for line in beside(texts, shutil.get_terminal_size().columns):
                terminalreporter.line(line)
