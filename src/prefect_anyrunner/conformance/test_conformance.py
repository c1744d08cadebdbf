"""The table as tests: `pytest --pyargs prefect_anyrunner.conformance --anyrunner=SPEC`.

Each runner has a child process with its engine. A case that hangs or ends its process fails, and the others still run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from prefect_anyrunner import RunnerSpec
from prefect_anyrunner._provisioning.server import server_environment
from prefect_anyrunner.conformance._harness.case_runner import CaseRunner
from prefect_anyrunner.conformance._harness.conform import cases_for
from prefect_anyrunner.conformance.table import Case
from prefect_anyrunner.pytest_plugin.selection import specs_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of every case on every runner of `--anyrunner`."""
    pairs = [
        pytest.param(text, case, id=f"{text}-{case.id}")
        for text in specs_of(metafunc.config)
        for case in cases_for(RunnerSpec.load(text, place="--anyrunner"))
    ]
    metafunc.parametrize(("text", "case"), pairs)


@pytest.fixture(scope="module")
def case_runners() -> Iterator[dict[str, CaseRunner]]:
    """Yield the child processes by spec; each starts with the first case of its runner."""
    with ExitStack() as stack:
        yield _CaseRunners(stack, stack.enter_context(server_environment()))


class _CaseRunners(dict[str, CaseRunner]):
    def __init__(self, stack: ExitStack, environment: dict[str, str]) -> None:
        super().__init__()
        self._stack = stack
        self._environment = environment

    def __missing__(self, text: str) -> CaseRunner:
        runner = CaseRunner(RunnerSpec.load(text), environment=self._environment)
        self[text] = self._stack.enter_context(runner)
        return runner


def test_case(text: str, case: Case, case_runners: dict[str, CaseRunner]) -> None:
    """Run one case on one runner."""
    result = case_runners[text].run(case)
    if result.verdict == "skip":
        pytest.skip(result.detail)
    if result.verdict == "fail":
        pytest.fail("\n".join([f"{case.id}: {case.sentence}", result.detail, result.traceback]), pytrace=False)
