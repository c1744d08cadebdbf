"""The table tries capabilities that a backend declares as lacking, so a wrong declaration fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_anyrunner import RunnerSpec
from prefect_anyrunner.conformance import CASES, CaseResult
from prefect_anyrunner.conformance._harness.case_runner import CaseRunner

FAKES = str(Path(__file__).parent / "fakes")
CASE = {case.id: case for case in CASES}


@pytest.fixture(autouse=True)
def fakes(prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the fake backends by their entry points, for this process and the child process."""
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("PYTHONPATH", FAKES + os.pathsep + os.environ["PYTHONPATH"])
    yield


def results(backend: str, *ids: str, seconds: float = 150.0) -> list[CaseResult]:
    with CaseRunner(RunnerSpec.parse(backend), seconds=seconds) as runner:
        return [runner.run(CASE[id]) for id in ids]


def test_declared_lack_is_a_skip_with_its_reason() -> None:
    # The second case ends the flow's process and the third one hangs in a call, so the last one needs a new process.
    outside, killed, blocking, order = results(
        "limited", "V2-process", "C2-dies-in-a-map", "F6-blocking-timeout", "O1-order"
    )
    assert (outside.verdict, outside.detail) == ("skip", "it is limited: separate_process")
    assert (killed.verdict, killed.detail) == ("skip", "it is limited: survive_worker_death")
    assert (blocking.verdict, blocking.detail) == ("skip", "it is limited: interrupt_blocking")
    assert order.verdict == "pass"


def test_declared_lack_that_works_fails() -> None:
    (outside,) = results("modest", "V2-process")
    assert outside.verdict == "fail"
    assert outside.detail == "declared as lacking (it thinks little of itself), but works"


def test_undeclared_failure_fails() -> None:
    outside, killed, order = results("boastful", "V2-process", "C2-dies-in-a-map", "O1-order")
    assert outside.verdict == "fail"
    assert killed.verdict == "fail"
    assert killed.detail == "the process of the flow ended: killed by signal 9 (SIGKILL)"
    assert order.verdict == "pass"


def test_runner_that_starts_nothing_fails_each_case_after_its_time() -> None:
    order, chain = results("silent", "O1-order", "U3-chain", seconds=8)
    assert (order.verdict, chain.verdict) == ("fail", "fail")
    assert "hung: no end after 8 s" in order.detail or "did not end" in order.detail, order
