"""The table as tests: `pytest --pyargs prefect_anyrunner.conformance --anyrunner=SPEC`.

Each runner has a child process with its engine; a case that hangs or ends its process fails, and the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from prefect_anyrunner import RunnerSpec
from prefect_anyrunner._provisioning.server import server_environment
from prefect_anyrunner.conformance._harness.case_runner import Bench
from prefect_anyrunner.conformance._harness.conform import cases_for
from prefect_anyrunner.conformance.table import Case
from prefect_anyrunner.pytest_plugin.selection import _specs


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of every case on every runner of `--anyrunner`."""
    pairs = [
        pytest.param(text, case, id=f"{text}-{case.id}")
        for text in _specs(metafunc.config)
        for case in cases_for(RunnerSpec.load(text, place="--anyrunner"))
    ]
    metafunc.parametrize(("text", "case"), pairs)


@pytest.fixture(scope="module")
def benches() -> Iterator[dict[str, Bench]]:
    """Give the child processes by spec; each starts with the first case of its runner."""
    with ExitStack() as stack:
        environment = stack.enter_context(server_environment())
        yield _Benches(stack, environment)


class _Benches(dict[str, Bench]):
    def __init__(self, stack: ExitStack, environment: dict[str, str]) -> None:
        super().__init__()
        self._stack = stack
        self._environment = environment

    def __missing__(self, text: str) -> Bench:
        bench = Bench(RunnerSpec.load(text), environment=self._environment)
        self[text] = self._stack.enter_context(bench)
        return bench


def test_case(text: str, case: Case, benches: dict[str, Bench]) -> None:
    """Run one case on one runner."""
    result = benches[text].run(case)
    if result.verdict == "skip":
        pytest.skip(result.detail)
    if result.verdict == "fail":
        pytest.fail("\n".join([f"{case.id}: {case.sentence}", result.detail, result.traceback]), pytrace=False)
