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
from tests.conformance.liars import LIES, WORKERS, Lie, Threads

BY_ID = {case.id: case for case in CASES}
CONTROL = ("O1-order", "F1-context", "U1-wait-for", "U2-annotations")
"""Quick cases of rules that most lies have nothing to do with."""


@pytest.fixture
def subject(told: Lie, prefect_server: str, tmp_path: Path) -> Iterator[Subject]:
    """The lying runner, in a flow run of its own."""

    def make(**options: Any) -> Any:
        if told.portable:
            options = {"portable": True, **options}
        return told.runner(**options)

    backend = "process" if told.process else "thread"
    lacks = dict(BUILT_IN[backend].lacks)
    if told.portable:
        del lacks[Capability.SEPARATE_PROCESS]
    shared = SharedFlow(make)
    before = limit()
    yield Subject(backend, make, shared, tmp_path, lacks, workers=WORKERS, setting=told.setting)
    set_limit(before)
    for each in list(Threads.alive):
        if hasattr(each, "let_go"):
            each.let_go()
    with contextlib.suppress(TimeoutError):  # it may have been given up
        shared.close()


def parameters() -> list[Any]:
    return [pytest.param(each, id=each.name) for each in LIES]


@pytest.mark.parametrize("told", parameters())
def test_lie_is_caught_and_nothing_else(told: Lie, subject: Subject) -> None:
    for id in CONTROL:
        if BY_ID[id].rule != told.rule:
            BY_ID[id].body(subject)
    if told.within is not None:
        set_limit(told.within)
    caught = [id for id in told.cases if fails(id, subject)]
    assert caught == list(told.cases)


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


def test_every_rule_has_a_lie() -> None:
    assert {each.rule for each in LIES} == set(RULES) == {case.rule for case in CASES}


def test_lies_are_of_one_rule_each() -> None:
    for each in LIES:
        assert {BY_ID[id].rule for id in each.cases} == {each.rule}
