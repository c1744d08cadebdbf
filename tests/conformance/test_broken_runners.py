"""A runner that breaks one promise fails the cases of that rule, and no others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_anyrunner.backends._builtin import BUILT_IN
from prefect_anyrunner.backends._record import Capability
from prefect_anyrunner.conformance import CASES, RULES, SharedFlow, Subject
from prefect_anyrunner.conformance.open_flow import limit, set_limit
from tests.conformance.broken_runners import BROKEN_RUNNERS, WORKERS, BrokenRunner, Threads

BY_ID = {case.id: case for case in CASES}
CONTROL = ("O1-order", "F1-context", "U1-wait-for", "U2-annotations")
"""Quick cases of rules that most of the runners keep."""


@pytest.fixture
def subject(broken: BrokenRunner, prefect_server: str, tmp_path: Path) -> Iterator[Subject]:
    """The broken runner, in a flow run of its own."""

    def make(**options: Any) -> Any:
        if broken.portable:
            options = {"portable": True, **options}
        return broken.runner(**options)

    backend = "process" if broken.process else "thread"
    lacks = dict(BUILT_IN[backend].lacks)
    if broken.portable:
        del lacks[Capability.SEPARATE_PROCESS]
    shared = SharedFlow(make)
    before = limit()
    yield Subject(backend, make, shared, tmp_path, lacks, workers=WORKERS, setting=broken.setting)
    set_limit(before)
    for each in list(Threads.alive):
        if hasattr(each, "end_deadlock"):
            each.end_deadlock()
    with contextlib.suppress(TimeoutError):  # the flow run may hang because of the broken runner
        shared.close()


def parameters() -> list[Any]:
    return [pytest.param(each, id=each.name) for each in BROKEN_RUNNERS]


@pytest.mark.slow  # minutes for all of them: for a change to the driver, to a case or to a broken runner
@pytest.mark.parametrize("broken", parameters())
def test_broken_runner_fails_the_cases_of_its_rule_and_no_others(broken: BrokenRunner, subject: Subject) -> None:
    for id in CONTROL:
        if BY_ID[id].rule != broken.rule:
            BY_ID[id].body(subject)
    if broken.within is not None:
        set_limit(broken.within)
    failed = [id for id in broken.cases if fails(id, subject)]
    assert failed == list(broken.cases)


def fails(id: str, subject: Subject) -> bool:
    subject.folder = subject.folder / id
    subject.folder.mkdir()
    try:
        BY_ID[id].body(subject)
    except Exception:
        return True
    finally:
        subject.folder = subject.folder.parent
    return False


def test_every_rule_has_a_broken_runner() -> None:
    assert {each.rule for each in BROKEN_RUNNERS} == set(RULES) == {case.rule for case in CASES}


def test_each_broken_runner_breaks_one_rule() -> None:
    for each in BROKEN_RUNNERS:
        assert {BY_ID[id].rule for id in each.cases} == {each.rule}
