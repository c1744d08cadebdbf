"""The records of tests on each runner, and their comparison at the end of the run."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from prefect_anyrunner.pytest_plugin.side_by_side import side_by_side


class Records:
    """Compares the values that tests have recorded, after all have run; with xdist, on its controller."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], dict[str, str]] = {}  # (test, name) -> runner -> text

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the records of a test."""
        if report.when == "teardown":
            value: Any
            for kind, value in report.user_properties:
                if kind == "anyrunner":
                    test, runner, name, text = value
                    self._records.setdefault((test, name), {})[runner] = text

    def _different(self) -> dict[tuple[str, str], dict[str, str]]:
        return {key: texts for key, texts in self._records.items() if len(set(texts.values())) > 1}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run if records differ."""
        if self._different() and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show the records that differ."""
        for (test, name), texts in self._different().items():
            terminalreporter.section(f"{test}: {name!r} differs between runners", sep="-", red=True)
            for line in side_by_side(texts, shutil.get_terminal_size().columns):
                terminalreporter.line(line)
